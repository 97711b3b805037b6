"""The Tensor: an array that can remember how it was computed."""

from __future__ import annotations

import builtins
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _core

float32 = np.dtype("float32")
float64 = np.dtype("float64")
int64 = np.dtype("int64")
int32 = np.dtype("int32")
uint8 = np.dtype("uint8")
bool_ = np.dtype("bool")

_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}  # what is of a kind goes into what is of the same or a higher one


class Tensor(_core.TensorBase):
    """An n-dimensional array with automatic differentiation; made by `pynn.tensor` and friends.

    Attributes: `shape`, `dtype`, `ndim`, `grad` (Tensor or None), `requires_grad`.
    """

    __array_ufunc__ = None  # so that ndarray * Tensor comes to Tensor.__rmul__

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        source = tensor(data, dtype, requires_grad)
        self._array = source._array
        self.requires_grad = source.requires_grad

    _wrap = staticmethod(_core.wrap_tensor)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op computed this tensor; `backward` fills `.grad` of leaves that require grad."""
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
        if gradient is not None:
            gradient = as_tensor(gradient, dtype=self.dtype)._array
            if gradient.shape != self.shape:
                raise ValueError(f"backward: expected a gradient of shape {self.shape}, got {gradient.shape}")
        _core.run_backward(self, gradient, retain_graph)

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

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions read tensors as arrays and give arrays; RuntimeError where one requires grad."""
        sizes_alone = function in (np.shape, np.ndim, np.size)

        def read(t: Tensor) -> np.ndarray:
            return (t.detach() if sizes_alone else t).numpy()

        return function(*_mapped(read, args), **_mapped(read, kwargs))

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        """The memory for other array libraries, without a copy; BufferError where the tensor requires grad."""
        if self.requires_grad:
            raise BufferError("__dlpack__ of a tensor that requires grad; use tensor.detach()")
        return self._array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def item(self) -> float | int | bool:
        """The single element as a Python number."""
        return _core.item(self._array)

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return np.asarray(self._array).tolist()

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor outside the tape; assigning replaces the memory, not its content."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        replacement = as_tensor(value)
        if replacement.dtype != self.dtype:
            raise TypeError(f"data: expected {self.dtype.name}, got {replacement.dtype.name}")
        self._array = replacement._array

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Change in place whether gradients of this leaf are wanted."""
        self.requires_grad = requires_grad
        return self

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size of it."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    def stride(self) -> tuple[int, ...]:
        """The strides in elements."""
        return self._array.strides

    def is_contiguous(self) -> bool:
        """Whether the elements lie in C order."""
        return self._array.contiguous

    @property
    def T(self) -> Tensor:
        """A view with all dimensions in reverse order."""
        return ops.permute(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """A view with the last two dimensions swapped."""
        return ops.transpose(self, -2, -1)

    def reshape(self, *shape: Any) -> Tensor:
        return ops.reshape(self, *shape)

    def view(self, *shape: Any) -> Tensor:
        """`reshape` that never copies: RuntimeError unless the elements lie in C order."""
        if not self._array.contiguous:
            raise RuntimeError("view of a tensor that is not in C order; use reshape")
        return ops.reshape(self, *shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        return ops.flatten(self, start_dim, end_dim)

    def permute(self, *dims: Any) -> Tensor:
        return ops.permute(self, *dims)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return ops.transpose(self, dim0, dim1)

    def t(self) -> Tensor:
        """`T` of at most 2 dimensions; ValueError for more."""
        if self.ndim > 2:
            raise ValueError(f"t: expected at most 2 dimensions, got shape {self.shape}")
        return self.T

    def squeeze(self, dim: int | None = None) -> Tensor:
        return ops.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        return ops.unsqueeze(self, dim)

    def expand(self, *shape: Any) -> Tensor:
        return ops.expand(self, *shape)

    def clone(self) -> Tensor:
        return ops.clone(self)

    def contiguous(self) -> Tensor:
        return ops.contiguous(self)

    def to(self, dtype: Any) -> Tensor:
        """The values as another dtype; the tensor itself where it has that dtype."""
        return ops.cast(self, dtype)

    def float(self) -> Tensor:
        """The values as float32."""
        return ops.cast(self, float32)

    def double(self) -> Tensor:
        """The values as float64."""
        return ops.cast(self, float64)

    def long(self) -> Tensor:
        """The values as int64."""
        return ops.cast(self, int64)

    def __getitem__(self, key: Any) -> Tensor:
        return ops.index(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check_in_place("item assignment", value)
        _core.copy_(_core.index(self._array, key), self._values(value))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: Any) -> Tensor:
        return ops.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.div(other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return ops.pow(self, exponent)

    def __neg__(self) -> Tensor:
        return ops.neg(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return ops.matmul(other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.eq(self, other) if _is_operand(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.ne(self, other) if _is_operand(other) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return ops.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.ge(self, other)

    __hash__ = object.__hash__

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return ops.sum(self, dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        return ops.mean(self, dim, keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        return ops.max(self, dim, keepdim)

    def min(self, dim: int | None = None, keepdim: bool = False) -> Any:
        return ops.min(self, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return ops.argmax(self, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return ops.argmin(self, dim, keepdim)

    def matmul(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def abs(self) -> Tensor:
        return ops.abs(self)

    def exp(self) -> Tensor:
        return ops.exp(self)

    def log(self) -> Tensor:
        return ops.log(self)

    def sqrt(self) -> Tensor:
        return ops.sqrt(self)

    def square(self) -> Tensor:
        return ops.square(self)

    def sigmoid(self) -> Tensor:
        return ops.sigmoid(self)

    def tanh(self) -> Tensor:
        return ops.tanh(self)

    def relu(self) -> Tensor:
        return ops.relu(self)

    def softmax(self, dim: int) -> Tensor:
        return ops.softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        return ops.log_softmax(self, dim)

    def _check_in_place(self, what: str, value: Any = None) -> None:
        """RuntimeError where a gradient would be lost: what is written in place is not recorded."""
        if not _core.is_recorded(self, value):
            return
        if self.requires_grad:
            raise RuntimeError(f"{what} of a tensor that requires grad is only allowed under pynn.no_grad()")
        raise RuntimeError(
            f"{what}: the value requires grad, and what is written in place is not recorded; "
            "compute a new tensor, or write value.detach()"
        )

    def _values(self, data: Any) -> Any:
        """What `copy_` writes: arrays may be of any dtype, numbers have to fit into this one."""
        return as_tensor(data, None if isinstance(data, Tensor | np.ndarray) else self.dtype)._array

    def _check_kind(self, what: str, dtype: np.dtype) -> None:
        if _KINDS[dtype.kind] > _KINDS[self.dtype.kind]:
            raise TypeError(f"{what}: the result is {dtype.name}, which does not go into {self.dtype.name} in place")

    def _in_place(self, what: str, kernel: Any, other: Any, **kwargs: Any) -> Tensor:
        self._check_in_place(what, other)
        if isinstance(other, np.generic):
            other = other.item()
        if not isinstance(other, int | builtins.float):  # the kernel itself asks whether a number fits
            self._check_kind(what, as_tensor(other).dtype)
            other = _core.expand(as_tensor(other, dtype=self.dtype)._array, self.shape)
        kernel(self._array, other, **kwargs)
        return self

    def _augmented(self, what: str, op: Any, in_place: Any, other: Any) -> Tensor:
        """`self op= other`: in place, or as a new tensor where there is a gradient that has to find its way."""
        is_leaf = self.requires_grad and self._node is None
        if is_leaf or not _core.is_recorded(self, other):
            return in_place(self, other)
        out = op(self, other)
        self._check_kind(what, out.dtype)
        if out.shape != self.shape:
            raise ValueError(f"{what}: expected a result of shape {self.shape}, got {out.shape}")
        return ops.cast(out, self.dtype)

    def copy_(self, source: Any) -> Tensor:
        """Overwrite the values in place; `source` may have any dtype and broadcasts."""
        self._check_in_place("copy_", source)
        _core.copy_(self._array, self._values(source))
        return self

    def fill_(self, value: Any) -> Tensor:
        """Overwrite every element with `value`, in place."""
        self._check_in_place("fill_", value)
        _core.fill_(self._array, value)
        return self

    def zero_(self) -> Tensor:
        """Overwrite every element with 0, in place."""
        return self.fill_(0)

    def add_(self, other: Any, alpha: Any = 1) -> Tensor:
        """self + alpha * other in place; `other` broadcasts and is converted to this dtype.

        TypeError where the result is of a higher kind (bool, integer, float), ValueError for a number that does not
        fit, RuntimeError where either requires grad: what is in place is not recorded.
        """
        return self._in_place("add_", _core.add_, other, alpha=alpha)

    def sub_(self, other: Any, alpha: Any = 1) -> Tensor:
        """self - alpha * other in place, as `add_`."""
        return self._in_place("sub_", _core.sub_, other, alpha=alpha)

    def mul_(self, other: Any) -> Tensor:
        """self * other in place, as `add_`."""
        return self._in_place("mul_", _core.mul_, other)

    def div_(self, other: Any) -> Tensor:
        """self / other in place, as `add_`."""
        return self._in_place("div_", _core.div_, other)

    def __iadd__(self, other: Any) -> Tensor:
        return self._augmented("+=", ops.add, Tensor.add_, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._augmented("-=", ops.sub, Tensor.sub_, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._augmented("*=", ops.mul, Tensor.mul_, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._augmented("/=", ops.div, Tensor.div_, other)

    def __float__(self) -> builtins.float:
        return builtins.float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.ndim:
            raise TypeError(
                f"expected an integer tensor without dimensions as index, got {self.dtype.name} {self.shape}"
            )
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 and spec else object.__format__(self, spec)

    def __reduce__(self) -> tuple:
        self._check_leaf("pickle")
        return _rebuild, (
            type(self),
            np.array(np.asarray(self._array), order="K"),
            self.requires_grad,
            self.grad,
        )

    def __deepcopy__(self, memo: dict) -> Tensor:
        self._check_leaf("deepcopy")
        out = type(self).__new__(type(self))
        memo[id(self)] = out
        out._array = _core.copy(self._array)
        out.requires_grad = self.requires_grad
        out.grad = None if self.grad is None else copy.deepcopy(self.grad, memo)
        return out

    def _check_leaf(self, what: str) -> None:
        if self._node is not None:
            raise RuntimeError(f"{what} of a tensor that was computed under the tape; detach() it first")

    def __len__(self) -> int:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __repr__(self) -> str:
        text = np.array2string(np.asarray(self._array), separator=", ", prefix="tensor(")
        extra = "" if self.dtype == float32 else f", dtype={self.dtype.name}"
        return f"tensor({text}{extra}{', requires_grad=True' if self.requires_grad else ''})"


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of `data` (numbers, nested lists, an ndarray, a tensor).

    Python floats give float32, integers int64, as in PyTorch; arrays keep their dtype. ValueError for a number that
    does not fit into an integer `dtype`; an array is converted as by `to`.
    """
    if isinstance(data, Tensor):
        array = data._array
    else:
        values = np.asarray(data)
        if values.dtype.kind not in "biuf":
            raise TypeError(f"tensor: expected numbers of one shape, got {type(data).__name__} ({values.dtype.name})")
        if dtype is None and values.dtype == float64 and not isinstance(data, np.ndarray | np.generic):
            dtype = float32
        if dtype is not None and not isinstance(data, np.ndarray):
            _check_range(values, np.dtype(dtype))
        array = _array_on(values)
    converted = array if dtype is None else _core.cast(array, dtype)
    out = Tensor._wrap(_core.copy(array, keep_order=False) if converted is array else converted)
    return out.requires_grad_() if requires_grad else out


def _is_operand(other: object) -> bool:
    """Whether `==` compares values: what cannot become a tensor of numbers (None, text) is only not the same."""
    return isinstance(other, Tensor | np.ndarray | int | float) or np.asarray(other).dtype.kind in "biuf"


def _mapped(function: Any, value: Any) -> Any:
    """`function` of the tensors in arguments, nested as they come."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return type(value)([_mapped(function, item) for item in value]) if type(value) in (tuple, list) else value


def _check_range(values: np.ndarray, dtype: np.dtype) -> None:
    if dtype.kind not in "iu" or not values.size:
        return
    limits = np.iinfo(dtype)
    for number in (values.min().item(), values.max().item()):
        if not limits.min - 1 < number < limits.max + 1:  # NaN neither
            raise ValueError(f"tensor: {number} does not fit into {dtype.name}")


def _array_on(values: np.ndarray) -> Any:
    """The Array that shares the memory of an ndarray; TypeError that names a dtype which pynn has not."""
    try:
        return _core.wrap(values)
    except TypeError:
        names = "float32, float64, int64, int32, uint8 or bool"
        raise TypeError(f"expected {names} in the machine's byte order, got dtype {values.dtype}") from None


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` as a tensor, sharing its memory where possible; a tensor of the right dtype is returned as it is."""
    if isinstance(data, Tensor):
        if dtype is None or data.dtype == dtype:
            return data
        return ops.cast(data, dtype)
    if isinstance(data, np.ndarray):
        out = Tensor._wrap(_array_on(data))
        return out if dtype is None or out.dtype == dtype else Tensor._wrap(_core.cast(out._array, dtype))
    return tensor(data, dtype)


def from_dlpack(x: Any) -> Tensor:
    """A tensor on the memory of `x`, any CPU array with `__dlpack__`, without a copy.

    TypeError for other objects and other dtypes, BufferError for memory that is not the CPU's.
    """
    return Tensor._wrap(_core.from_dlpack(x))


def _rebuild(cls: type[Tensor], values: np.ndarray, requires_grad: bool, grad: Tensor | None) -> Tensor:
    t = cls.__new__(cls)
    t._array = _core.copy(_core.wrap(values))
    t.grad = grad
    t.requires_grad = requires_grad
    return t


_core.use_tensor_class(Tensor, as_tensor)

# The methods above call the ops, and the ops need the class: the one pair of modules that know each other.
from . import ops  # noqa: E402

for _name in ops.__all__:  # a method says what its op says
    _method = vars(Tensor).get(_name)
    if _method is not None and not _method.__doc__:
        _method.__doc__ = getattr(ops, _name).__doc__
