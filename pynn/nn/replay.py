"""Forward passes of frozen models without the Python between their kernels."""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_
from typing import Any

from .. import _core
from ..tensor import Tensor, as_tensor
from .module import Module, changes

MOST_SHAPES = 8  # each recording keeps the memory of a forward pass


class Replay:
    """The recorded forward passes of one model, by the kind of input; `freeze()` makes it.

    The first call with a kind of input is an ordinary one, the second is recorded, those after it run the recorded
    kernels: the same bits. A model that was changed since then is never replayed again. A copy has no recordings.
    """

    def __init__(self) -> None:
        self._programs: dict[Any, Any] = {}  # None: seen once; False: not to be recorded

    def watch(self, model: Module) -> None:
        """What the model is now is what recordings are valid for."""
        self._epoch = changes.epoch
        self._attributes = [(vars(m), list(vars(m).values())) for m in model.modules()]
        tensors = {id(v): v for _, values in self._attributes for v in values if isinstance(v, Tensor)}
        self._tensors = tuple(tensors.values())
        self._arrays = tuple([t._array for t in self._tensors])

    def __reduce__(self) -> tuple:
        return type(None), ()

    def __call__(self, model: Module, input: Any) -> Tensor | None:
        """The output, or None where the model has to be called as usual."""
        x = as_tensor(input)
        if x.requires_grad or _core.is_recording():
            return None
        if not self._unchanged():
            model._replay = None
            return None
        array = x._array
        key = array.layout, _core.is_strict()
        program = self._programs.get(key)
        if program:
            return Tensor._wrap(program.replay([array])[0])
        if key in self._programs:
            return self._recorded(model, key, array) if program is None else None
        if len(self._programs) < MOST_SHAPES:
            self._programs[key] = None
        return None

    def _unchanged(self) -> bool:
        if self._epoch is not changes.epoch:
            epoch = changes.epoch
            for attributes, values in self._attributes:
                if len(attributes) != len(values) or not _same(attributes.values(), values):
                    return False
            self._epoch = epoch
        return _core.are_constants(self._tensors, self._arrays)

    def _recorded(self, model: Module, key: Any, array: Any) -> Tensor | None:
        program = _core.Program()
        program.begin()
        try:
            output = model.forward(Tensor._wrap(program.input(array)))
            program.finish([output._array])
        except _core.CaptureError:  # no kernel at all, say
            self._programs[key] = False
            return None
        finally:
            program.abort()
        self._programs[key] = program
        return output


def _same(values: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(map(is_, values, others))
