# Made by .ci/stubs from the docstrings of the compiled module. Do not edit.
"""
The compiled core of pynn.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
_ArrayLike: typing.TypeAlias = Array | numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]
__all__: list[str] = ['Array', 'CaptureError', 'Node', 'Program', 'TensorBase', 'abs', 'activation', 'activation_backward', 'adam', 'add', 'add_', 'always_use_team', 'are_unchanged', 'argmax', 'argmin', 'avg_pool2d', 'avg_pool2d_backward', 'build_flags', 'built_isas', 'cast', 'check_environment', 'contiguous', 'conv2d', 'conv2d_data', 'conv2d_flip', 'conv2d_weight', 'copy', 'copy_', 'cross_entropy', 'cross_entropy_backward', 'div', 'div_', 'dropout', 'dropout_backward', 'element_loss', 'element_loss_backward', 'empty', 'eq', 'exp', 'expand', 'extremum_backward', 'fill_', 'from_dlpack', 'full', 'full_like', 'gather_normalized', 'gather_rows', 'ge', 'gemm', 'gradients_are', 'gt', 'hold', 'index', 'is_grad_enabled', 'is_recorded', 'is_recording', 'is_shared', 'is_strict', 'isa_name', 'item', 'le', 'linear', 'linear_backward', 'local_threads', 'log', 'log_softmax', 'log_softmax_backward', 'lt', 'machine', 'matmul', 'max', 'max_pool2d', 'max_pool2d_backward', 'max_pool2d_places', 'max_unpool2d', 'max_unpool2d_backward', 'max_with_index', 'maximum', 'mean', 'memory_stats', 'min', 'min_with_index', 'minimum', 'mul', 'mul_', 'ne', 'neg', 'nll_loss', 'nll_loss_backward', 'num_threads', 'peak_copy', 'peak_fma', 'permute', 'pow', 'random_bernoulli_', 'random_integers', 'random_normal_', 'random_permutation', 'random_truncated_normal_', 'random_uniform_', 'record', 'release_memory', 'reshape', 'run_backward', 'set_grad_enabled', 'set_gradients', 'set_local_threads', 'set_num_threads', 'set_pool_cap', 'set_spin_microseconds', 'set_strict', 'sgd', 'sign', 'softmax', 'softmax_backward', 'sqrt', 'stop_team', 'sub', 'sub_', 'sum', 'supported_isas', 'team_workers', 'use_isa', 'use_tensor_class', 'wrap', 'wrap_or_record', 'wrap_tensor', 'write_number']
class Array:
    """
    A block of memory seen through a shape and strides.
    """
    @property
    def __array_interface__(self) -> dict[str, typing.Any]: ...
    @property
    def contiguous(self) -> bool: ...
    @property
    def dtype(self) -> numpy.dtype[typing.Any]: ...
    @property
    def layout(self) -> typing.Any: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def ndim(self) -> int: ...
    @property
    def pointer(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def size(self) -> int: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def version(self) -> int: ...
    def __dlpack__(self, *, stream: typing.Any = None, max_version: typing.Any = None, dl_device: typing.Any = None, copy: typing.Any = None) -> typing.Any:
        ...
    def __dlpack_device__(self) -> tuple[int, int]:
        ...
class CaptureError(RuntimeError):
    pass
class Program:
    """
    A recorded sequence of kernel calls.
    """
    def __init__(self) -> None:
        ...
    def abort(self) -> None:
        """
        End the recording and drop it.
        """
    def begin(self, strict: bool = True) -> None:
        """
        Record every kernel call of this thread from now on. What cannot be recorded is a CaptureError or, unless `strict`, ends the recording: `refusal` says why.
        """
    def finish(self, results: collections.abc.Sequence[_ArrayLike]) -> None:
        """
        End the recording; `results` are what a replay gives.
        """
    def input(self, arg0: typing.Any) -> Array:
        """
        A private copy of an input, to be used in its place while recording.
        """
    def knows(self, array: typing.Any) -> bool:
        """
        Whether a call uses this memory.
        """
    def overwrites(self, arrays: list[typing.Any]) -> bool:
        """
        Whether some of these lies in memory that a call changes in place.
        """
    def replay(self, inputs: collections.abc.Sequence[_ArrayLike]) -> list[Array]:
        """
        Run all calls on other inputs; gives the results.
        """
    def touched(self) -> list[typing.Any]:
        """
        The tensors that the recorded calls used, as they were before.
        """
    @property
    def calls(self) -> list[str]:
        """
        The names of the recorded calls.
        """
    @property
    def nbytes(self) -> int:
        """
        The program's own memory.
        """
    @property
    def refusal(self) -> str:
        """
        Why the recording is no good; empty where it is.
        """
class TensorBase:
    """
    What every Tensor holds.
    """
    _array: Array
    _node: Node | None
    @property
    def dtype(self) -> numpy.dtype[typing.Any]: ...
    grad: typing.Any
    @property
    def ndim(self) -> int: ...
    requires_grad: bool
    @property
    def shape(self) -> tuple[int, ...]: ...
class Node:
    """
    One recorded op.
    """
    @property
    def name(self) -> str: ...
def abs(arg0: _ArrayLike) -> Array:
    ...
def activation(arg0: _ArrayLike, arg1: str) -> Array:
    ...
def activation_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: str) -> Array:
    ...
def adam(values: list[typing.Any], grads: list[typing.Any], means: list[typing.Any], squares: list[typing.Any], lr: _ArrayLike, step: _ArrayLike, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool, maximize: bool) -> None:
    ...
def add(input: _ArrayLike | float, other: _ArrayLike | float, alpha: typing.Any = 1) -> Array:
    ...
def add_(input: _ArrayLike, other: _ArrayLike | float, alpha: typing.Any = 1) -> None:
    ...
def always_use_team(arg0: bool) -> None:
    """
    For tests: every call of two or more tasks uses all its threads, whatever they cost.
    """
def are_unchanged(tensors, arrays, requires_grad):
    """
    Whether each tensor holds the array given and requires grad as the byte says.
    """
def argmax(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def argmin(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def avg_pool2d(arg0: _ArrayLike, arg1: tuple[typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], bool], arg2: bool, arg3: int) -> Array:
    ...
def avg_pool2d_backward(grad: _ArrayLike, size: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], geometry: tuple[typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], bool], count_padding: bool, divisor: int, output: _ArrayLike | None = None, activation: str = 'none', overwrite: bool = False) -> Array:
    ...
def built_isas() -> list[str]:
    ...
def cast(arg0: _ArrayLike, arg1: numpy.typing.DTypeLike) -> Array:
    ...
def check_environment() -> None:
    ...
def contiguous(arg0: _ArrayLike) -> Array:
    ...
def conv2d(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None, arg3: str, arg4: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg5: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg6: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg7: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg8: int) -> Array:
    ...
def conv2d_data(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None, arg3: str, arg4: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg5: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg6: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg7: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg8: int) -> Array:
    ...
def conv2d_flip(arg0: _ArrayLike) -> Array:
    ...
def conv2d_weight(arg0: _ArrayLike, arg1: _ArrayLike, arg2: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg3: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg4: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg5: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg6: int, arg7: bool) -> tuple[Array, Array | None]:
    ...
def copy(array: _ArrayLike, keep_order: bool = True) -> Array:
    ...
def copy_(arg0: _ArrayLike, arg1: _ArrayLike) -> None:
    ...
def cross_entropy(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None, arg3: int, arg4: str, arg5: float, arg6: bool) -> tuple[typing.Any, ...]:
    ...
def cross_entropy_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None, arg3: _ArrayLike, arg4: _ArrayLike | None, arg5: int, arg6: str, arg7: float) -> Array:
    ...
def div(input: _ArrayLike | float, other: _ArrayLike | float, alpha: typing.Any = 1) -> Array:
    ...
def div_(input: _ArrayLike, other: _ArrayLike | float, alpha: typing.Any = 1) -> None:
    ...
def dropout(arg0: _ArrayLike, arg1: float, arg2: _ArrayLike) -> tuple[Array, Array]:
    """
    The output, and the mask that the gradient needs.
    """
def dropout_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: float) -> Array:
    ...
def element_loss(arg0: str, arg1: _ArrayLike, arg2: _ArrayLike, arg3: _ArrayLike | None, arg4: _ArrayLike | None, arg5: str) -> Array:
    ...
def element_loss_backward(arg0: str, arg1: _ArrayLike, arg2: _ArrayLike, arg3: _ArrayLike, arg4: _ArrayLike | None, arg5: _ArrayLike | None, arg6: str) -> Array:
    ...
def empty(arg0: collections.abc.Sequence[int], arg1: numpy.typing.DTypeLike) -> Array:
    ...
def eq(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def exp(arg0: _ArrayLike) -> Array:
    ...
def expand(arg0: _ArrayLike, arg1: collections.abc.Sequence[int]) -> Array:
    ...
def extremum_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: collections.abc.Sequence[int], arg3: int) -> Array:
    ...
def fill_(arg0: _ArrayLike, arg1: typing.Any) -> None:
    ...
def from_dlpack(arg0: typing.Any) -> Array:
    ...
def full(arg0: collections.abc.Sequence[int], arg1: typing.Any, arg2: numpy.typing.DTypeLike) -> Array:
    ...
def full_like(arg0: _ArrayLike, arg1: typing.Any) -> Array:
    ...
def gather_normalized(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike, arg3: _ArrayLike, arg4: int, arg5: _ArrayLike | None) -> Array:
    ...
def gather_rows(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None) -> Array:
    ...
def ge(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def gemm(a: _ArrayLike, b: _ArrayLike, bias: _ArrayLike | None, activation: str, out: _ArrayLike | None, accumulate: bool) -> Array:
    """
    activation(a b + bias), added to out first with `accumulate`.
    """
def gradients_are(tensors, gradients):
    """
    Whether the .grad of each tensor is the object given.
    """
def gt(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def hold(containers, copies):
    """
    Whether each container, a list or a dictionary, holds the same objects in the same order as its copy; Ellipsis stands for any object.
    """
def index(arg0: _ArrayLike, arg1: typing.Any) -> Array:
    ...
def is_grad_enabled():
    """
    Whether ops on this thread are recorded.
    """
def is_recorded(*tensors):
    """
    Whether an op on these goes on the tape: a tensor that requires grad is among them.
    """
def is_recording() -> bool:
    ...
def is_shared(arg0: _ArrayLike) -> bool:
    ...
def is_strict() -> bool:
    ...
def isa_name() -> str:
    ...
def item(arg0: _ArrayLike) -> typing.Any:
    ...
def le(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def linear(input: _ArrayLike, weight: _ArrayLike, bias: _ArrayLike | None, activation: str) -> Array:
    ...
def linear_backward(grad: _ArrayLike, input: _ArrayLike | None, weight: _ArrayLike, output: _ArrayLike | None, activation: str, wants_input: bool, wants_weight: bool, wants_bias: bool) -> tuple[typing.Any, ...]:
    ...
def local_threads() -> int:
    ...
def log(arg0: _ArrayLike) -> Array:
    ...
def log_softmax(arg0: _ArrayLike, arg1: int) -> Array:
    ...
def log_softmax_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: int) -> Array:
    ...
def lt(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def machine(root: str = '') -> dict[typing.Any, typing.Any]:
    ...
def matmul(a: _ArrayLike, b: _ArrayLike, transpose_a: bool, transpose_b: bool) -> Array:
    """
    a b over the last two axes, the axes before them broadcast.
    """
def max(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def max_pool2d(arg0: _ArrayLike, arg1: tuple[typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], bool], arg2: bool) -> tuple[Array, Array]:
    ...
def max_pool2d_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg3: tuple[typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], bool]) -> Array:
    ...
def max_pool2d_places(arg0: _ArrayLike, arg1: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], arg2: tuple[typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"], bool]) -> Array:
    ...
def max_unpool2d(arg0: _ArrayLike, arg1: _ArrayLike, arg2: typing.Annotated[collections.abc.Sequence[int], "FixedSize(2)"]) -> Array:
    ...
def max_unpool2d_backward(arg0: _ArrayLike, arg1: _ArrayLike) -> Array:
    ...
def max_with_index(arg0: _ArrayLike, arg1: int, arg2: bool) -> tuple[Array, Array]:
    ...
def maximum(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def mean(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def memory_stats() -> dict[typing.Any, typing.Any]:
    ...
def min(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def min_with_index(arg0: _ArrayLike, arg1: int, arg2: bool) -> tuple[Array, Array]:
    ...
def minimum(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def mul(input: _ArrayLike | float, other: _ArrayLike | float, alpha: typing.Any = 1) -> Array:
    ...
def mul_(input: _ArrayLike, other: _ArrayLike | float, alpha: typing.Any = 1) -> None:
    ...
def ne(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def neg(arg0: _ArrayLike) -> Array:
    ...
def nll_loss(arg0: _ArrayLike, arg1: _ArrayLike, arg2: _ArrayLike | None, arg3: int, arg4: str) -> tuple[typing.Any, ...]:
    ...
def nll_loss_backward(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: _ArrayLike | None, arg3: _ArrayLike, arg4: _ArrayLike | None, arg5: int, arg6: str) -> Array:
    ...
def num_threads() -> int:
    ...
def peak_copy(arg0: _ArrayLike, arg1: _ArrayLike) -> None:
    """
    Copies contiguous float32 memory on every thread.
    """
def peak_fma(arg0: int) -> float:
    """
    Runs multiply-adds in registers on every thread; gives the floating-point operations done.
    """
def permute(arg0: _ArrayLike, arg1: collections.abc.Sequence[int]) -> Array:
    ...
def pow(arg0: _ArrayLike | float, arg1: _ArrayLike | float) -> Array:
    ...
def random_bernoulli_(arg0: _ArrayLike, arg1: _ArrayLike, arg2: float) -> None:
    ...
def random_integers(arg0: collections.abc.Sequence[int], arg1: _ArrayLike, arg2: int, arg3: int) -> Array:
    ...
def random_normal_(arg0: _ArrayLike, arg1: _ArrayLike, arg2: float, arg3: float) -> None:
    ...
def random_permutation(arg0: int, arg1: _ArrayLike) -> Array:
    ...
def random_truncated_normal_(arg0: _ArrayLike, arg1: _ArrayLike, arg2: float, arg3: float, arg4: float, arg5: float) -> None:
    ...
def random_uniform_(arg0: _ArrayLike, arg1: _ArrayLike, arg2: float, arg3: float) -> None:
    ...
def record(name, array, inputs, backward, saved = tuple(), activation = 'none', takes_activation = False):
    """
    The tensor of an op's output `array`, on the tape where an input requires grad.
    
    `backward(grad)` takes the gradient of the output and gives one gradient (or None) per input, all as arrays.
    `inputs` are tensors, or None where no gradient ever goes. `saved` are the arrays (or None) that backward will read:
    an in-place change to one of them is an error then.
    `activation`: what the op did last, its output the last of `saved`; the tape multiplies the gradient by its derivative,
    and backward takes the product. Or the op that the output goes to does so, if it is the only one and was recorded
    with `takes_activation`: it is called as backward(grad, output, activation, overwrite), the last whether its gradient
    may lie in the memory of `output`.
    """
def release_memory() -> None:
    ...
def reshape(arg0: _ArrayLike, arg1: collections.abc.Sequence[int]) -> Array:
    ...
def run_backward(arg0: typing.Any, arg1: typing.Any, arg2: bool) -> None:
    """
    Walks the tape from a tensor, newest node first, adding to the .grad of every leaf that it reaches. A gradient None is that of a single element, 1.
    """
def set_grad_enabled(mode):
    """
    Whether ops on this thread are recorded from now on; returns what was before.
    """
def set_gradients(tensors, arrays):
    """
    The last of `arrays` as .grad of the tensors; None clears it.
    """
def set_local_threads(arg0: int) -> None:
    """
    This thread's own number of threads; 0 takes it back.
    """
def set_num_threads(arg0: int) -> None:
    ...
def set_pool_cap(arg0: int) -> None:
    ...
def set_spin_microseconds(arg0: int) -> None:
    ...
def set_strict(arg0: bool) -> None:
    ...
def sgd(values: list[typing.Any], grads: list[typing.Any], momenta: list[typing.Any], lr: _ArrayLike, momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool, first: bool) -> None:
    ...
def sign(arg0: _ArrayLike) -> Array:
    ...
def softmax(arg0: _ArrayLike, arg1: int) -> Array:
    ...
def softmax_backward(arg0: _ArrayLike, arg1: _ArrayLike, arg2: int) -> Array:
    ...
def sqrt(arg0: _ArrayLike) -> Array:
    ...
def stop_team() -> None:
    ...
def sub(input: _ArrayLike | float, other: _ArrayLike | float, alpha: typing.Any = 1) -> Array:
    ...
def sub_(input: _ArrayLike, other: _ArrayLike | float, alpha: typing.Any = 1) -> None:
    ...
def sum(arg0: _ArrayLike, arg1: collections.abc.Sequence[int], arg2: bool) -> Array:
    ...
def supported_isas() -> list[str]:
    ...
def team_workers() -> int:
    ...
def use_isa(arg0: str) -> None:
    """
    Switches the kernels of the whole process, for tests and benchmarks.
    """
def use_tensor_class(tensor: type, as_tensor: typing.Any) -> None:
    """
    The class of the tensors that `record` and `wrap_tensor` make, and what makes them of other objects.
    """
def wrap(arg0: _ArrayLike) -> Array:
    ...
def wrap_or_record(record, array, *operands):
    """
    A tensor on `array`, outside the tape unless an operand is a tensor that requires grad: then record(array, *operands).
    """
def wrap_tensor(array):
    """
    A tensor on `array` itself, outside the tape.
    """
def write_number(array: _ArrayLike, value: float) -> None:
    """
    Set a float64 array of one element, outside of any recording.
    """
build_flags: str = 'GNU 12.2.0, Release'
