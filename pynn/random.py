"""Random numbers that depend on seed, stream and position alone: the same bits on every CPU and at any thread count.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). Uniform numbers, integers and permutations are the same on every
instruction set, normal ones wherever it has a fused multiply-add.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from .creation import empty, full
from .tensor import Tensor, float32, int64

_SEED = 67280421310721  # of a generator that nobody has seeded: every run is the same unless it asks for another


class Generator:
    """A source of random numbers: `seed` and `stream` say which sequence, `offset` how many blocks of it are used up.

    seed, stream and offset are integers of 64 bits. Every call takes whole blocks of 64 words of 32 bits, in one atomic
    step: threads that share a generator never draw the same numbers. May be pickled and copied.
    """

    def __init__(self, seed: int = _SEED, stream: int = 0, offset: int = 0) -> None:
        self._array = full((3,), 0, int64)._array
        self.set_state((seed, stream, offset))

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence of `seed` from its beginning."""
        self.set_state((seed, self.stream, 0))
        return self

    def initial_seed(self) -> int:
        """The seed."""
        return self.get_state()[0]

    @property
    def stream(self) -> int:
        return self.get_state()[1]

    @property
    def offset(self) -> int:
        return self.get_state()[2]

    def get_state(self) -> tuple[int, int, int]:
        """(seed, stream, offset)."""
        return tuple(np.asarray(self._array).view(np.uint64).tolist())

    def set_state(self, state: Sequence[int]) -> None:
        """Go on from `state`, which `get_state` gave. TypeError or ValueError unless it is 3 integers of 64 bits."""
        try:
            values = [operator.index(v) for v in state]
        except TypeError:
            raise TypeError(f"Generator: expected integers for seed, stream and offset, got {state}") from None
        if len(values) != 3 or not all(-(2**63) <= v < 2**64 for v in values):
            raise ValueError(f"Generator: expected seed, stream and offset of 64 bits, got {state}")
        _core.copy_(self._array, np.array([v % 2**64 for v in values], np.uint64).view(np.int64))

    def __reduce__(self) -> tuple:
        return Generator, self.get_state()

    def __repr__(self) -> str:
        return "Generator(seed={}, stream={}, offset={})".format(*self.get_state())


default_generator = Generator()
dropout_generator = Generator(stream=1)  # its own, so that a model with dropout draws the same weights and batches


def manual_seed(seed: int) -> Generator:
    """Seed the generator that is used where none is given, and return it; also that of dropout."""
    dropout_generator.manual_seed(seed)
    return default_generator.manual_seed(seed)


def get_rng_state() -> np.ndarray:
    """(seed, stream, offset) of the default generator and of dropout's: shape (2, 3), uint64."""
    return np.array([g.get_state() for g in (default_generator, dropout_generator)], np.uint64)


def set_rng_state(new_state: Any) -> None:
    """Go on from what `get_rng_state` gave, as an array or as lists. ValueError or TypeError for anything else."""
    for generator, state in zip((default_generator, dropout_generator), checked_rng_state(new_state), strict=True):
        generator.set_state(state)


def checked_rng_state(state: Any) -> list[tuple[int, int, int]]:
    """What `set_rng_state` would set; its errors."""
    rows = np.asarray(state)
    if rows.shape != (2, 3):
        raise ValueError(f"set_rng_state: expected a state of shape (2, 3), got {rows.shape}")
    return [Generator(*row).get_state() for row in rows.tolist()]


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def _fill(tensor: Tensor, what: str, kernel: Any, generator: Generator | None, *args: Any) -> Tensor:
    tensor._check_in_place(what)
    kernel(tensor._array, (generator or default_generator)._array, *args)
    return tensor


def uniform_(tensor: Tensor, low: float = 0.0, high: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on [low, high), in place: 24 random bits (float64: 53). ValueError unless low <= high, both finite."""
    return _fill(tensor, "uniform_", _core.random_uniform_, generator, low, high)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with `mean` and `std`, in place (Box and Muller 1958). ValueError for std < 0 or what is not finite."""
    return _fill(tensor, "normal_", _core.random_normal_, generator, mean, std)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with `mean` and `std`, conditioned on [a, b], in place, by the inverse of its distribution function.

    In float32 the distribution function is 1 beyond about 5 `std` above the mean: bounds that both lie there are not
    told apart, and near them there are few different values. ValueError unless std > 0 and a <= b.
    """
    return _fill(tensor, "trunc_normal_", _core.random_truncated_normal_, generator, mean, std, a, b)


def bernoulli_(tensor: Tensor, p: float = 0.5, generator: Generator | None = None) -> Tensor:
    """1 with probability p, else 0, in place. ValueError unless 0 <= p <= 1."""
    return _fill(tensor, "bernoulli_", _core.random_bernoulli_, generator, p)


def rand(*size: Any, generator: Generator | None = None, dtype: Any = float32, requires_grad: bool = False) -> Tensor:
    """Uniform on [0, 1), float32 or float64."""
    return uniform_(empty(*size, dtype=dtype), generator=generator).requires_grad_(requires_grad)


def randn(*size: Any, generator: Generator | None = None, dtype: Any = float32, requires_grad: bool = False) -> Tensor:
    """Standard normal, float32 or float64."""
    return normal_(empty(*size, dtype=dtype), generator=generator).requires_grad_(requires_grad)


def randint(low: int, high: Any, size: Any = None, generator: Generator | None = None) -> Tensor:
    """int64 uniform on [low, high); `randint(high, size)` starts at 0. ValueError unless low < high."""
    if size is None:
        low, high, size = 0, low, high
    if not isinstance(size, tuple | list):
        raise TypeError(f"randint: expected a tuple as size, got {size!r}")
    return Tensor._wrap(_core.random_integers(tuple(size), (generator or default_generator)._array, low, high))


def randperm(n: int, generator: Generator | None = None) -> Tensor:
    """0 ... n-1 in random order, int64 (Fisher and Yates)."""
    return Tensor._wrap(_core.random_permutation(n, (generator or default_generator)._array))
