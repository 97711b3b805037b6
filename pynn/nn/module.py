"""Module: layers and models as trees of attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core
from ..tensor import Tensor, as_tensor
from .parameter import Parameter


class Module:
    """Base class of layers and models: define `forward`, keep parameters and submodules as attributes.

    Parameters, buffers and submodules are found among the instance's attributes, in the order in which they were set.
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except (ValueError, TypeError, IndexError) as error:
            _name_layer(error, self)
            raise

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but no parameter; in `state_dict()` unless `persistent=False`."""
        self.__dict__.setdefault("_buffers", {})[name] = persistent
        setattr(self, name, tensor)

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

        Raises KeyError for missing or unexpected names (unless `strict=False`), ValueError for a wrong shape, TypeError
        for what is no mapping or not numbers.
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

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's line in `repr(model)`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}({self.extra_repr()}", *lines, ")"])


def _converted(array: Any, dtype: Any) -> Any:
    """Another dtype in the same memory order: a Linear weight stays physically (in, out)."""
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    inverse = sorted(range(array.ndim), key=order.__getitem__)
    return _core.permute(_core.cast(_core.permute(array, order), dtype), inverse)


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
