"""Functions whose kernel calls are recorded once, and then run without the Python between them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import _core
from ._core import Array, CaptureError
from .tensor import Tensor, as_tensor

MOST_KINDS = 8  # of inputs that are recorded; each recording keeps the memory of a call
MOST_KEPT = 3  # recordings for a kind of inputs: in training and evaluation, say
MOST_ATTEMPTS = 8  # to record one: what changes with every call is not worth it


class _Changes:
    """`epoch` is another object after each change of an attribute of any module: who still sees the one that was there
    before it looked at some modules knows that these are as they were."""

    epoch = object()


changes = _Changes()


class Notes:
    """The modules that a call on this thread calls, the optimizers that step and the leaves that get a gradient."""

    active = 0  # on all threads; if there are any, modules and optimizers call `note`
    _lock = threading.Lock()
    _here = threading.local()

    def __init__(self) -> None:
        self._called: dict[int, Any] = {}
        self._stepped: dict[int, Any] = {}
        self._leaves: list[Tensor] = []

    def __enter__(self) -> Notes:
        _core.note_leaves(self._leaves)
        Notes._here.notes = self
        with Notes._lock:
            Notes.active += 1
        return self

    def __exit__(self, *exc: object) -> None:
        with Notes._lock:
            Notes.active -= 1
        Notes._here.notes = None
        _core.note_leaves(None)

    @staticmethod
    def here() -> Notes | None:
        """Those that this thread takes."""
        return getattr(Notes._here, "notes", None) if Notes.active else None

    @staticmethod
    def note(module: Any = None, optimizer: Any = None) -> None:
        notes = Notes.here()
        if notes is not None:
            if module is not None:
                notes._called[id(module)] = module
            if optimizer is not None:
                notes._stepped[id(optimizer)] = optimizer

    def modules(self) -> list[Any]:
        """Those called and all below them."""
        return list({id(m): m for called in self._called.values() for m in called.modules()}.values())

    def optimizers(self) -> list[Any]:
        return list(self._stepped.values())

    def tensors(self) -> list[Tensor]:
        """The leaves, and the tensors of the modules and of the optimizers."""
        found = list(self._leaves)
        found += [v for module in self.modules() for v in vars(module).values() if isinstance(v, Tensor)]
        found += [p for optimizer in self.optimizers() for group in optimizer.param_groups for p in group["params"]]
        return list({id(t): t for t in found}.values())

    def covers(self, other: Notes) -> bool:
        """Whether everything of the other is here."""
        pairs = ((n.modules(), n.optimizers(), n.tensors()) for n in (self, other))
        return all({id(v) for v in theirs} <= {id(v) for v in ours} for ours, theirs in zip(*pairs, strict=True))


class Attributes:
    """What the attributes of some modules are now."""

    def __init__(self, modules: Iterable[Any]) -> None:
        self._epoch = changes.epoch
        self._holders = tuple([vars(m) for m in modules])
        self._values = tuple([tuple(attributes.values()) for attributes in self._holders])

    def hold(self) -> bool:
        """Whether they still are."""
        epoch = changes.epoch
        if self._epoch is not epoch:
            if not _core.hold(self._holders, self._values):
                return False
            self._epoch = epoch
        return True


class Tensors:
    """The memory of some tensors, and whether they require grad."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = tuple(tensors)
        self._arrays = tuple([t._array for t in self._tensors])
        self._requires_grad = bytes([t.requires_grad for t in self._tensors])

    def hold(self) -> bool:
        """Whether both are as they were."""
        return _core.are_unchanged(self._tensors, self._arrays, self._requires_grad)


class _State:
    """What noted modules, tensors and optimizers are now, as far as a recording takes it over."""

    def __init__(self, notes: Notes) -> None:
        self._attributes, self._tensors = Attributes(notes.modules()), Tensors(notes.tensors())
        self.optimizers = notes.optimizers()
        pairs = [pair for optimizer in self.optimizers for pair in optimizer._recorded_state()]
        self._holders, self._values = tuple([h for h, _ in pairs]), tuple([v for _, v in pairs])

    def holds(self) -> bool:
        return self._tensors.hold() and self._attributes.hold() and _core.hold(self._holders, self._values)


class _Gradients:
    """What a recorded call did to the `.grad` of some tensors."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._before = [(t, t.grad) for t in tensors]
        self._fixed: tuple[tuple, tuple] = (), ()  # tensors, and what their .grad has to be before a replay
        self._cleared: tuple[Tensor, ...] = ()
        self.made: tuple[Tensor, ...] = ()  # by the call, in the order of the program's results

    def compare(self, program: _core.Program) -> str:
        """Why the calls cannot be replayed, if so. Gradients that the calls do not read may be anything."""
        fixed: list[tuple[Tensor, Tensor | None]] = []
        cleared: list[Tensor] = []
        made: list[Tensor] = []
        for tensor, before in self._before:
            grad = tensor.grad
            read = before is not None and program.knows(before._array)
            if read and grad is not before:
                return "it reads gradients from before the call and replaces them: call zero_grad() first"
            if before is None or read:
                fixed.append((tensor, before))
            if grad is not before:
                (cleared if grad is None else made).append(tensor)
        self._before = []
        self._fixed = tuple([t for t, _ in fixed]), tuple([g for _, g in fixed])
        self._cleared, self.made = tuple(cleared + made), tuple(made)
        return ""

    def fit(self) -> bool:
        return _core.gradients_are(*self._fixed)

    def clear(self) -> None:
        """Let the memory go that the replay may then write to."""
        _core.set_gradients(self._cleared, None)


class _Recording:
    """A program, when it may be replayed and how its results are given back."""

    def __init__(self, program: _core.Program, state: _State, gradients: _Gradients, form: Any) -> None:
        self.program, self._state, self._gradients = program, state, gradients
        self._form, self._optimizers = form, state.optimizers
        self.replays = 0

    def fits(self) -> bool:
        return self._gradients.fit() and self._state.holds()

    def replay(self, arrays: list[Array]) -> Any:
        for optimizer in self._optimizers:
            optimizer._write_rates()
        self.replays += 1
        self._gradients.clear()
        results = self.program.replay(arrays)
        _core.set_gradients(self._gradients.made, results)  # the last of them
        return Tensor._wrap(results[0]) if self._form is ... else _filled(self._form, iter(results))


class _Kind:
    """The recordings for one kind of inputs."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes  # of an ordinary call
        self.recordings: list[_Recording] = []
        self.attempts = 0  # since one that was worth it


class Captured:
    """What `capture` makes of a function. `reason`: why the last attempt to record it failed, if it did."""

    def __init__(self, function: Callable[..., Any], strict: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"capture: expected a function, got {type(function).__name__}")
        functools.update_wrapper(self, function, updated=())
        self._function, self._strict = function, bool(strict)
        self._kinds: dict[Any, _Kind] = {}
        self.reason = ""

    def __reduce__(self) -> tuple:
        return Captured, (self._function, self._strict)

    @property
    def nbytes(self) -> int:
        """The memory of all recordings, in bytes."""
        return sum(r.program.nbytes for kind in self._kinds.values() for r in kind.recordings)

    def clear(self) -> None:
        """Forget all recordings and let their memory go."""
        self._kinds = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = [as_tensor(v) if isinstance(v, np.ndarray) else v for v in (*args, *kwargs.values())]
        names = tuple(kwargs)
        if _core.is_recording() or Notes.here() is not None:  # a part of another captured function
            return self._call(given, names)
        inputs = []
        parts: list[Any] = [names, _core.is_strict(), _core.is_grad_enabled()]
        for value in given:
            if isinstance(value, Tensor):
                inputs.append(value)
                parts.append(value._array.layout)
            elif value is None or isinstance(value, bool | int | float | str):
                parts.append((type(value), value))
            else:
                raise TypeError(
                    f"{self._name}: expected tensors, arrays, numbers, strings or None as arguments of a captured "
                    f"function, got {type(value).__name__}"
                )
        if any([t.requires_grad for t in inputs]):
            return self._unrecorded(given, names, "an input requires grad")
        key = tuple(parts)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                return self._unrecorded(given, names, f"there are more than {MOST_KINDS} kinds of inputs")
            with Notes() as notes:
                result = _detached(self._call(given, names))
            self._kinds[key] = _Kind(notes)
            return result
        for recording in kind.recordings:
            if recording.fits():
                return recording.replay([t._array for t in inputs])
        if any([r.replays >= MOST_ATTEMPTS for r in kind.recordings[:1]]):
            kind.attempts = 0
        if kind.attempts >= MOST_ATTEMPTS:
            return self._unrecorded(given, names, self.reason or "something that it reads changes with every call")
        kind.attempts += 1
        return self._recorded(kind, given, names)

    def _call(self, given: list[Any], names: tuple[str, ...]) -> Any:
        """The last of what is given under these names."""
        positional = len(given) - len(names)
        return self._function(*given[:positional], **dict(zip(names, given[positional:], strict=True)))

    @property
    def _name(self) -> str:
        return getattr(self, "__qualname__", type(self._function).__name__)

    def _unrecorded(self, given: list[Any], names: tuple[str, ...], reason: str) -> Any:
        self._refuse(reason)
        return _detached(self._call(given, names))

    def _refuse(self, reason: str) -> None:
        if self._strict:
            raise CaptureError(f"{self._name}: {reason}")
        if reason != self.reason:
            import logging  # 20 modules of the standard library, for what is rare

            logging.getLogger(__name__).info("%s is called as usual, not replayed: %s", self._name, reason)
        self.reason = reason

    def _recorded(self, kind: _Kind, given: list[Any], names: tuple[str, ...]) -> Any:
        """The result of an ordinary call, which is recorded if it can be."""
        state, gradients = _State(kind.notes), _Gradients(kind.notes.tensors())
        program = _core.Program()
        with Notes() as notes:
            program.begin(self._strict)
            try:
                private = [Tensor._wrap(program.input(v._array)) if isinstance(v, Tensor) else v for v in given]
                result = _detached(self._call(private, names))
                arrays: list[Array] = []
                form = _form(result, arrays)
                reason = program.refusal or self._finish(program, kind, notes, state, gradients, form, arrays)
            finally:
                program.abort()
        if reason:
            kind.notes = notes
            self._refuse(reason)
        else:
            recording = _Recording(program, state, gradients, form)
            kind.recordings = [recording, *kind.recordings[: MOST_KEPT - 1]]
            self.reason = ""
            _core.release_memory()  # that of the ordinary calls, which is not needed any more
        return result

    def _finish(
        self,
        program: _core.Program,
        kind: _Kind,
        notes: Notes,
        state: _State,
        gradients: _Gradients,
        form: Any,
        arrays: list[Array],
    ) -> str:
        if form is _NO_FORM:
            return "it returns something else than tensors, None, and tuples, lists or dictionaries of them"
        if not kind.notes.covers(notes):
            return "the modules and optimizers it calls, or the tensors that get gradients, differ from call to call"
        if not state.holds():
            return "attributes or tensors of a module or the state of an optimizer change in the call"
        reason = gradients.compare(program)
        if reason:
            return reason
        try:
            program.finish([*arrays, *[t.grad._array for t in gradients.made]])
        except CaptureError as error:
            return str(error)
        return ""


def capture(function: Callable[..., Any] | None = None, *, strict: bool = False) -> Any:
    """A function that does what `function` does, on tensors, without the Python between its kernels.

    The first call with arguments of some kind is an ordinary one; the second is recorded; those after it run the
    recorded kernels on the new inputs, with the same bits. So a whole training step is one call into C++:

        @pynn.capture
        def step(x, y):
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

    Arguments are tensors or arrays, passed on as tensors (their dtype, shape and strides are the kind), and numbers,
    strings or None, which belong to the kind too. It returns a tensor, None, or tuples, lists and dictionaries of them;
    tensors come detached.

    A replay sees what changes in place (weights, running sums, states of optimizers and random numbers) and learning
    rates. Where an attribute of a module, a parameter, an option of an optimizer or `.grad` is no longer what it was,
    it is recorded again. Other Python is not run: what it prints, counts or draws from NumPy stays as it was while
    recording. It has to read no value of a tensor (`item()`, `numpy()`, `if loss > 1`), to change no input in place and
    to keep no new tensor but what it returns and gradients. What cannot be recorded is called as usual, and `reason`
    says why; with `strict` it is a CaptureError, which an input that is changed in place always is. A recording keeps
    the memory of a call (`nbytes`, in bytes) until `clear()`.

    TypeError for arguments of other types.
    """
    if function is None:
        return functools.partial(capture, strict=strict)
    return Captured(function, strict)


_NO_FORM = object()


def _detached(value: Any) -> Any:
    """Without the tape, which would keep what a recorded call has made."""
    if isinstance(value, Tensor):
        return value.detach()
    if type(value) in (tuple, list):
        return type(value)(map(_detached, value))
    if type(value) is dict:
        return {k: _detached(v) for k, v in value.items()}
    return value


def _form(value: Any, arrays: list[Array]) -> Any:
    """The value with Ellipsis for its tensors, whose arrays are appended; _NO_FORM where there is something else."""
    if isinstance(value, Tensor):
        arrays.append(value._array)
        return ...
    if value is None:
        return None
    if type(value) in (tuple, list, dict):
        parts = [_form(v, arrays) for v in (value.values() if type(value) is dict else value)]
        if not any(part is _NO_FORM for part in parts):
            return dict(zip(value, parts, strict=True)) if type(value) is dict else type(value)(parts)
    return _NO_FORM


def _filled(form: Any, arrays: Iterator[Array]) -> Any:
    if form is ...:
        return Tensor._wrap(next(arrays))
    if form is None:
        return None
    if type(form) is dict:
        return {k: _filled(v, arrays) for k, v in form.items()}
    return type(form)([_filled(v, arrays) for v in form])
