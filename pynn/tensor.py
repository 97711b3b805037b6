"""The Tensor: an array that can remember how it was computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core, autograd
from ._core import Array

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int64 = np.dtype("int64")
int32 = np.dtype("int32")
uint8 = np.dtype("uint8")
bool_ = np.dtype("bool")

_FLOATS = (float32, float64)


class Tensor:
    """An n-dimensional array with automatic differentiation; made by `pynn.tensor` and friends.

    Attributes: `grad` (Tensor or None), `requires_grad`.
    """

    __slots__ = ("__weakref__", "_array", "_node", "grad", "requires_grad")
    __array_ufunc__ = None  # so that ndarray * Tensor comes to Tensor.__rmul__

    _array: Array
    grad: Tensor | None
    requires_grad: bool

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        source = tensor(data, dtype, requires_grad)
        self._array = source._array
        self._node = None
        self.grad = None
        self.requires_grad = source.requires_grad

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        """A tensor on `array` itself, outside the tape."""
        t = Tensor.__new__(Tensor)
        t._array = array
        t._node = None
        t.grad = None
        t.requires_grad = False
        return t

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that it depends on.

        `gradient` has this tensor's shape and may be left out for a single element. What the ops saved is freed unless
        `retain_graph`. Raises RuntimeError where nothing was recorded or a saved array was changed in place since;
        NotImplementedError for `create_graph=True`.
        """
        if create_graph:
            raise NotImplementedError("create_graph=True: gradients of gradients are not recorded")
        if not self.requires_grad:
            raise RuntimeError("backward of a tensor that does not require grad and was not recorded")
        if gradient is None:
            if self._array.size != 1:
                raise RuntimeError(
                    f"backward of shape {self.shape} needs a gradient; only a single element has one by itself"
                )
            gradient = _core.full_like(self._array, 1)
        else:
            gradient = as_tensor(gradient, dtype=self.dtype)._array
            if gradient.shape != self.shape:
                raise ValueError(f"backward: expected a gradient of shape {self.shape}, got {gradient.shape}")
        autograd.run_backward(self, gradient, retain_graph)

    def detach(self) -> Tensor:
        """The same memory, outside the tape."""
        return Tensor._wrap(self._array)

    def numpy(self) -> np.ndarray:
        """The memory as an ndarray, without a copy. RuntimeError where the tensor requires grad: detach() first."""
        if self.requires_grad:
            raise RuntimeError("numpy() of a tensor that requires grad; use tensor.detach().numpy()")
        return np.asarray(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is None:
            return np.asarray(self.numpy(), dtype=dtype)
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None) -> Any:
        """The memory for other array libraries, without a copy; BufferError where the tensor requires grad."""
        if self.requires_grad:
            raise BufferError("__dlpack__ of a tensor that requires grad; use tensor.detach()")
        return self._array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def item(self) -> float | int | bool:
        """The single element as a Python number."""
        return _core.item(self._array)

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __repr__(self) -> str:
        text = np.array2string(np.asarray(self._array), separator=", ", prefix="tensor(")
        extra = "" if self.dtype == float32 else f", dtype={self.dtype.name}"
        return f"tensor({text}{extra}{', requires_grad=True' if self.requires_grad else ''})"


def record(name: str, array: Array, inputs: tuple, backward: Any, saved: tuple = ()) -> Tensor:
    """The tensor of an op's output `array`, on the tape where an input requires grad.

    `backward(grad)` takes the gradient of the output and gives one gradient (or None) per input, all as arrays.
    `saved` are the arrays that it will read: an in-place change to one of them is an error then.
    """
    out = Tensor._wrap(array)
    if autograd.recording(*inputs):
        out.requires_grad = True
        out._node = autograd.Node(name, backward, tuple([autograd.edge(t) for t in inputs]), saved)
    return out


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data` (numbers, nested lists, an ndarray, a tensor).

    Python floats give float32, integers int64, as in PyTorch; arrays keep their dtype.
    """
    if isinstance(data, Tensor):
        out = Tensor._wrap(_core.copy(data._array) if dtype is None else _cast_copy(data._array, dtype))
    else:
        array = np.asarray(data)
        if dtype is None and array.dtype == float64 and not isinstance(data, np.ndarray | np.generic):
            dtype = float32
        if array.dtype == object:
            raise TypeError(f"tensor: expected numbers of one shape, got {type(data).__name__}")
        array = np.array(array, dtype=dtype, order="C", copy=True)
        out = Tensor._wrap(_core.copy(_core.wrap(array)))
    if requires_grad:
        out.requires_grad = _checked_requires_grad(out)
    return out


def _cast_copy(array: Array, dtype: Any) -> Array:
    cast = _core.cast(array, dtype)
    return _core.copy(cast) if cast is array else cast


def _checked_requires_grad(t: Tensor) -> bool:
    if t.dtype not in _FLOATS:
        raise RuntimeError(f"only float tensors can require grad, got {t.dtype.name}")
    return True


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` as a tensor, sharing its memory where that is possible; a tensor of the right dtype is returned as it is."""
    if isinstance(data, Tensor):
        if dtype is None or data.dtype == dtype:
            return data
        return Tensor._wrap(_core.cast(data._array, dtype))
    if isinstance(data, np.ndarray):
        out = Tensor._wrap(_core.wrap(data))
        return out if dtype is None or out.dtype == dtype else Tensor._wrap(_core.cast(out._array, dtype))
    return tensor(data, dtype)


def from_dlpack(x: Any) -> Tensor:
    """A tensor on the memory of `x`, any CPU array with `__dlpack__`, without a copy.

    TypeError for other objects and other dtypes, BufferError for memory that is not the CPU's.
    """
    return Tensor._wrap(_core.from_dlpack(x))
