"""Models as JSON: which layers with which arguments. Building one runs constructors that are known, never other code.

{"class": "Linear", "arguments": {...}}               a layer of pynn.nn
{"class": "Sequential", "layers": [["0", {...}], …]}  layers in order, under their names
{"name": "mlp", "arguments": {...}}                   a registered model
{"custom": "Net", "arguments": {...}}                 a class of the user's, given to `build`
{"shared": "0"}                                       the same module as the one of that dotted name
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..nn.parameter import loading
from . import registry
from .perceptron import Perceptron

CLASSES = {
    value.__name__: value
    for value in (*vars(nn).values(), Perceptron)
    if isinstance(value, type) and issubclass(value, nn.Module) and value is not nn.Module
}
CONTAINERS = (nn.Sequential, nn.ModuleList)
MOST_NESTED = 50
UNBOUNDED = 2**63  # for descriptions of models that are there already
_ANNOTATED: dict[Any, type | tuple[type, ...]] = {"int": int, "bool": bool, "str": str, "float": (int, float)}

Builders = Mapping[str, Callable[..., nn.Module]]


def describe(model: nn.Module) -> dict[str, Any]:
    """The model's architecture. ValueError that names the layer where it cannot be built again from that."""
    description = _described(model, "", {})
    custom = {type(m).__name__: type(m) for m in model.modules() if type(m) not in CLASSES.values()}
    difference = _difference(model, build(description, custom, UNBOUNDED))
    if difference:
        raise ValueError(
            f"{type(model).__name__}: built again from its arguments it would be another model: {difference}"
        )
    return description


def build(description: Any, custom_objects: Builders, numbers: int) -> nn.Module:
    """The model of a description, of at most so many numbers in parameters, whose values are left open.

    ValueError that names the layer for anything that is no architecture or that a constructor refuses.
    """
    with loading(numbers):
        return _built(description, "", {}, custom_objects, 0)


def _described(module: nn.Module, path: str, seen: dict[int, str]) -> dict[str, Any]:
    if id(module) in seen:
        return {"shared": seen[id(module)]}
    recorded = _recorded(module, path)
    if recorded is not None:
        return recorded
    kind = type(module)
    seen[id(module)] = path
    if kind in CONTAINERS:
        layers = [[name, _described(child, _join(path, name), seen)] for name, child in module.named_children()]
        return {"class": kind.__name__, "layers": layers}
    if kind is CLASSES.get(kind.__name__):
        key = "class"
    elif kind.__name__ in registry.names() and kind is registry.get(kind.__name__):
        key = "name"
    else:
        key = "custom"
    arguments = module.get_config() if hasattr(module, "get_config") else module._config()
    return {key: kind.__name__, "arguments": _plain(arguments, f"{_layer(path, kind.__name__)}: argument")}


def _recorded(module: nn.Module, path: str) -> dict[str, Any] | None:
    """Name and arguments of a registered model; None where it was changed since, or is none."""
    given = module.architecture
    if not isinstance(given, Mapping) or given.keys() != {"name", "arguments"} or given["name"] not in registry.names():
        return None
    description = {"name": given["name"], "arguments": _plain(given["arguments"], f"{given['name']}: argument")}
    return None if _difference(module, build(description, {}, UNBOUNDED)) else description


def _difference(model: nn.Module, other: nn.Module) -> str:
    """What the first difference between two models is, their values apart; "" where there is none."""
    for mine, others in zip(_outline(model), _outline(other), strict=False):
        if mine != others:
            return f"{others} instead of {mine}"
    return "" if len(_outline(model)) == len(_outline(other)) else "the number of layers or parameters differs"


def _outline(model: nn.Module) -> list[tuple]:
    """Name and class of each module, and a layer's arguments; name, shape and first name of each tensor."""
    layers = {kind for kind in CLASSES.values() if kind not in CONTAINERS}
    modules = [
        (name, type(module).__name__, repr(module._config()) if type(module) in layers else "")
        for name, module in model.named_modules()
    ]
    first: dict[int, str] = {}
    return modules + [(name, t.shape, first.setdefault(id(t), name)) for name, t in model._state()]


def _plain(value: Any, name: str) -> Any:
    """What JSON holds: tuples as lists, NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item, name) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{name} {key!r}") for key, item in value.items()}
    raise ValueError(f"{name}: expected what JSON can hold, got {type(value).__name__}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _layer(path: str, kind: str) -> str:
    return f"{kind} '{path}'" if path else kind


def _built(description: Any, path: str, built: dict[str, nn.Module], custom_objects: Builders, depth: int) -> nn.Module:
    if not isinstance(description, dict):
        raise ValueError(f"expected an object as the architecture of '{path}', got {type(description).__name__}")
    if depth > MOST_NESTED:
        raise ValueError(f"expected at most {MOST_NESTED} layers inside each other")
    keys = description.keys()
    if keys == {"shared"}:
        return _shared(description["shared"], path, built)
    if keys == {"class", "layers"}:
        module = _container(description, path, built, custom_objects, depth)
    elif keys in ({"class", "arguments"}, {"name", "arguments"}, {"custom", "arguments"}):
        module = _constructed(description, path, custom_objects)
    else:
        raise ValueError(f"expected a class, name or custom class as the architecture of '{path}', got {sorted(keys)}")
    built[path] = module
    return module


def _shared(name: Any, path: str, built: dict[str, nn.Module]) -> nn.Module:
    if not isinstance(name, str) or name not in built:
        raise ValueError(f"'{path}' is to be the same as {name!r}, which is not a layer before it")
    return built[name]


def _container(
    description: dict[str, Any], path: str, built: dict[str, nn.Module], custom_objects: Builders, depth: int
) -> nn.Module:
    kind, layers = description["class"], description["layers"]
    container = next((c for c in CONTAINERS if c.__name__ == kind), None)
    if container is None:
        raise ValueError(f"'{path}': expected one of {', '.join(c.__name__ for c in CONTAINERS)}, got {kind!r}")
    if not isinstance(layers, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in layers
    ):
        raise ValueError(f"{_layer(path, kind)}: expected a list of names and layers")
    modules = {}
    for name, layer in layers:
        if name in modules:
            raise ValueError(f"{_layer(path, kind)}: two layers are named '{name}'")
        modules[name] = _built(layer, _join(path, name), built, custom_objects, depth + 1)
    if container is nn.Sequential:
        return nn.Sequential(modules)
    if list(modules) != [str(i) for i in range(len(modules))]:
        raise ValueError(f"{_layer(path, kind)}: expected the names 0, 1, …, got {list(modules)}")
    return nn.ModuleList(modules.values())


def _constructed(description: dict[str, Any], path: str, custom_objects: Builders) -> nn.Module:
    (key,) = description.keys() - {"arguments"}
    kind, arguments = description[key], description["arguments"]
    if not isinstance(kind, str) or not isinstance(arguments, dict):
        raise ValueError(f"'{path}': expected a name and arguments, got {kind!r}")
    constructor: Callable[..., Any] | None
    if key == "class":
        constructor = None if CLASSES.get(kind) in CONTAINERS else CLASSES.get(kind)
        if constructor is not None:
            arguments = {name: _tupled(value) for name, value in arguments.items()}
    elif key == "name":
        constructor = registry.get(kind) if kind in registry.names() else None
    else:
        constructor = custom_objects.get(kind)
    if constructor is None:
        known = {"class": "no layer of this pynn", "name": f"no model of this pynn ({', '.join(registry.names())})"}
        missing = f"a class of the user's: give it as custom_objects={{{kind!r}: {kind}}}"
        raise ValueError(f"{_layer(path, kind)} is {known.get(key, missing)}")
    try:
        if key == "class":
            _check_types(constructor, arguments)
        module = constructor(**arguments)
    except Exception as error:  # whatever a constructor says about arguments that anybody may have written
        raise ValueError(f"{_layer(path, kind)} cannot be built: {error or type(error).__name__}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{_layer(path, kind)}: expected a Module, got {type(module).__name__}")
    return module


def _check_types(constructor: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """TypeError for an argument that is not what the constructor's annotation says, where that is a single type."""
    for name, parameter in inspect.signature(constructor).parameters.items():
        expected = _ANNOTATED.get(parameter.annotation)
        value = arguments.get(name)
        if expected is None or name not in arguments:
            continue
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise TypeError(f"expected {parameter.annotation} for {name}, got {value!r}")


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
