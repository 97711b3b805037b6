"""Module: layers and models as trees of attributes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _core, ops
from ..autograd import no_grad
from ..program import Notes, changes, note, noting
from ..tensor import Tensor, as_tensor, float32
from .parameter import Parameter
from .preprocessing import Preprocessing


class Module:
    """Base class of layers and models: define `forward`, keep parameters and submodules as attributes.

    Parameters, buffers and submodules are found among the instance's attributes, in the order in which they were set.
    `preprocessing`, `classes` (names of the outputs) and `architecture` (name and arguments of a registered model) are
    what a model file says about the whole model besides its weights.
    """

    training: bool = True
    preprocessing: Preprocessing | None = None
    classes: Sequence[str] = ()
    architecture: Mapping[str, Any] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if noting:
            note(Notes.module, self)
        try:
            return self.forward(*args, **kwargs)
        except (ValueError, TypeError, IndexError) as error:
            _name_layer(error, self)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        if not (value is None or isinstance(value, Parameter)) and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"{type(self).__name__}: expected a Parameter or None as {name}, got {type(value).__name__}; "
                f"values are replaced by {name}.data = … or, under pynn.no_grad(), {name}.copy_(…)"
            )
        object.__setattr__(self, name, value)
        changes.epoch = object()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changes.epoch = object()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but no parameter; in `state_dict()` unless `persistent=False`."""
        self.__dict__.setdefault("_buffers", {})[name] = persistent
        setattr(self, name, tensor)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Set a parameter by its name, as an assignment does. TypeError for what is neither a Parameter nor None."""
        if not (parameter is None or isinstance(parameter, Parameter)):
            raise TypeError(
                f"register_parameter: expected a Parameter or None as {name}, got {type(parameter).__name__}"
            )
        setattr(self, self._checked_name(name, Parameter), parameter)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set a submodule by its name, as an assignment does. TypeError for what is neither a Module nor None."""
        if not (module is None or isinstance(module, Module)):
            raise TypeError(f"add_module: expected a Module or None as {name}, got {type(module).__name__}")
        setattr(self, self._checked_name(name, Module), module)

    def _checked_name(self, name: str, kind: type) -> str:
        """ValueError for a name that is no part of a dotted name, or that something else has already."""
        held = vars(self).get(name)
        taken = hasattr(type(self), name) or name == "_buffers" or not (held is None or isinstance(held, kind))
        if taken or not name or "." in name:
            raise ValueError(f"{type(self).__name__}: '{name}' cannot name a {kind.__name__.lower()}")
        return name

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(attribute, module) of the direct submodules."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all below it, each once."""
        seen: set[int] = set()
        stack = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [(f"{name}.{key}" if name else key, child) for key, child in module.named_children()]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), each parameter once."""
        seen: set[int] = set()
        for module_name, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{module_name}.{name}" if module_name else name, value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer)."""
        for module_name, module in self.named_modules(prefix):
            for name in vars(module).get("_buffers", ()):
                if getattr(module, name) is not None:
                    yield f"{module_name}.{name}" if module_name else name, getattr(module, name)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Everything of the state dict under PyTorch's keys; a shared parameter appears under each of its names."""

        def walk(module: Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
            buffers = vars(module).get("_buffers", {})
            for name, value in vars(module).items():
                if isinstance(value, Parameter) or (buffers.get(name) and value is not None):
                    yield prefix + name, value
            for name, child in module.named_children():
                yield from walk(child, f"{prefix}{name}.")

        return walk(self, "")

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers: NumPy arrays in C order under PyTorch's keys and shapes."""
        return {name: np.array(np.asarray(t._array), order="C") for name, t in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Copy values into the parameters and buffers in place; nothing is changed where a check fails.

        Raises KeyError for missing or unexpected names (unless `strict=False`), ValueError for a wrong shape or a
        frozen model, TypeError for what is no mapping or not numbers.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a dictionary of arrays, got {type(state_dict).__name__}")
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        if strict and (missing or unexpected):
            raise KeyError(f"load_state_dict: missing {missing}, unexpected {unexpected}")
        arrays = {name: np.asarray(state_dict[name]) for name in own if name in state_dict}
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":
                raise TypeError(f"load_state_dict: '{name}': expected numbers, got dtype {array.dtype.name}")
            if own[name]._array.readonly:
                raise ValueError(f"load_state_dict: '{name}' is read-only: the model is frozen")
        values = {name: as_tensor(array) for name, array in arrays.items()}
        for name, value in values.items():
            if value.shape != own[name].shape:
                raise ValueError(f"load_state_dict: '{name}': expected shape {own[name].shape}, got {value.shape}")
        for name, value in values.items():
            _core.copy_(own[name]._array, value._array)

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and below."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Set evaluation mode here and below."""
        return self.train(False)

    def predict(self, x: Any, batch_size: int = 512) -> np.ndarray:
        """Probabilities (N, classes): the softmax of the outputs, in evaluation mode, as an array of the model's dtype.

        With `preprocessing`, x are raw samples of integers, or floats that are scaled as in training already; one
        sample gives one row. Without, x (N, …) goes into the model as it is. A row has the same bits at any
        `batch_size`. ValueError for other sizes, and where the outputs are not (N, classes).
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"predict: expected a whole number >= 1 for batch_size, got {batch_size!r}")
        dtype = next((p.dtype for p in self.parameters()), float32)
        prepare = self.preprocessing if isinstance(self.preprocessing, Preprocessing) else None
        samples = as_tensor(x).detach() if prepare is None else prepare.samples(x)
        probabilities = []
        with mode(self, training=False), no_grad():
            for start in range(0, max(samples.shape[0], 1), int(batch_size)):
                batch = samples[start : start + int(batch_size)]
                output = self(ops.cast(batch if prepare is None else prepare(batch), dtype))
                if output.ndim != 2:
                    raise ValueError(f"predict: expected outputs (N, classes), got shape {output.shape}")
                probabilities.append(ops.softmax(output, 1).numpy())
        return np.concatenate(probabilities)

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call `function` on every submodule, then on this module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Switch the gradients of all parameters on or off."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def freeze(self) -> Module:
        """Make this a model to predict with and return it: evaluation mode, no gradients, read-only weights.

        Parameters and buffers move into memory that the model alone owns: `numpy()` gives read-only views of it, and
        an in-place change, `load_state_dict` included, is a ValueError. What comes from `copy.deepcopy`, pickle or a
        file may be changed and trained again after `requires_grad_()`.
        """
        for tensor in {id(t): t for m in self.modules() for t in vars(m).values() if isinstance(t, Tensor)}.values():
            tensor.requires_grad_(False)
            tensor.grad = None
            tensor._array = _read_only(_core.copy(tensor._array))
        return self.eval()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.zero_()

    def to(self, dtype: Any) -> Module:
        """Convert the floating parameters and buffers to float32 or float64, in place; gradients are dropped."""
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"to: expected a float dtype, got {np.dtype(dtype).name}")
        for _, tensor in self._state():
            if tensor.dtype.kind == "f":
                tensor._array = _converted(tensor._array, dtype)
                tensor.grad = None
        return self

    def float(self) -> Module:
        """All floating parameters and buffers as float32."""
        return self.to(np.float32)

    def double(self) -> Module:
        """All floating parameters and buffers as float64."""
        return self.to(np.float64)

    def _config(self) -> dict[str, Any]:
        """The constructor's arguments that build such a module, found among the attributes of the same names.

        A flag, as `bias`, is whether its attribute is there. `dtype` is left out: the weights have it. ValueError for
        an argument without an attribute.
        """
        config = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if name == "dtype":
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not hasattr(self, name):
                raise ValueError(
                    f"{type(self).__name__}: its argument {name!r} is not kept in an attribute of that name"
                )
            value = getattr(self, name)
            flag = isinstance(parameter.default, bool) and (value is None or isinstance(value, Tensor))
            config[name] = value is not None if flag else value
        return config

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's line in `repr(model)`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}({self.extra_repr()}", *lines, ")"])


def is_builtin(function: Any) -> bool:
    """Whether it is an op, or a module whose layers are all pynn's as they are: no Python of others runs in a call."""
    if not isinstance(function, Module):
        return getattr(ops, str(getattr(function, "__name__", "")), None) is function
    return all(
        type(m).__module__.startswith(f"{__package__}.") and "forward" not in vars(m) for m in function.modules()
    )


@contextmanager
def mode(model: Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode; every module has its own mode back afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def _converted(array: Any, dtype: Any) -> Any:
    """Another dtype in the same memory order: a Linear weight stays physically (in, out)."""
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    inverse = sorted(range(array.ndim), key=order.__getitem__)
    converted = _core.permute(_core.cast(_core.permute(array, order), dtype), inverse)
    return _read_only(converted) if array.readonly else converted


def _read_only(array: Any) -> Any:
    """The same memory as an Array that nothing writes to."""
    view = np.asarray(array)
    view.flags.writeable = False
    return _core.wrap(view)


def _name_layer(error: Exception, module: Module) -> None:
    """Put the layer where an error was raised before its message; each enclosing module adds its part of the name."""
    located = getattr(error, "_pynn_layer", None)
    if located is None:
        kind, path = type(module).__name__, ""
        text = str(error.args[0] if error.args else "")
        op, colon, rest = text.partition(": ")
        if colon and op.replace("_", "") == kind.lower():  # MaxPool2d: max_pool2d: …
            text = rest
    else:
        kind, path, text, inner = located
        name = next((key for key, child in module.named_children() if child is inner), None)
        if name is not None:
            path = f"{name}.{path}" if path else name
    error._pynn_layer = (kind, path, text, module)  # type: ignore[attr-defined]
    error.args = (f"{kind} '{path}': {text}" if path else f"{kind}: {text}", *error.args[1:])
