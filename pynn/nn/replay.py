"""Forward passes of frozen models without the Python between their kernels."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..program import Attributes, Tensors
from ..tensor import Tensor, as_tensor
from .module import Module

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
        modules = [(m, dict(vars(m))) for m in model.modules()]
        self._attributes = Attributes(modules)
        tensors = [v for _, attributes in modules for v in attributes.values() if isinstance(v, Tensor)]
        self._tensors = Tensors([(t, t._array, t.requires_grad) for t in tensors])

    def __reduce__(self) -> tuple:
        return type(None), ()

    def __call__(self, model: Module, input: Any) -> Tensor | None:
        """The output, or None where the model has to be called as usual."""
        x = as_tensor(input)
        if x.requires_grad or _core.is_recording():
            return None
        if not (self._attributes.hold() and self._tensors.hold()):
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
