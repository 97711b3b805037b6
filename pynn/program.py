"""Functions whose kernel calls are recorded once, and then run without the Python between them."""

from __future__ import annotations

import functools
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import _core
from ._core import Array, CaptureError
from .tensor import Tensor, as_tensor

MOST_KINDS = 8  # of inputs that are recorded; each recording keeps the memory of a call
MOST_KEPT = 2  # recordings for a kind of inputs: in training and evaluation, say
MOST_ATTEMPTS = 8  # to record one: what changes with every call is not worth it


class _Changes:
    """`epoch` is another object after each change of an attribute of any module: who still sees the one that was there
    before it looked at some modules knows that these are as they were."""

    epoch = object()


changes = _Changes()


class Notes:
    """The modules that a recorded call calls and the optimizers that step in it, as they were before."""

    def __init__(self) -> None:
        self.modules: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.optimizers: dict[int, tuple[Any, list[tuple[Any, Any]]]] = {}
        self.rates: set[int] = set()  # the groups of optimizers whose learning rate a kernel reads

    def module(self, module: Any) -> None:
        if id(module) not in self.modules:
            for below in module.modules():
                self.modules.setdefault(id(below), (below, dict(vars(below))))

    def optimizer(self, optimizer: Any) -> None:
        if id(optimizer) not in self.optimizers:
            self.optimizers[id(optimizer)] = optimizer, optimizer._recorded_state()

    def rate(self, group: dict[str, Any]) -> None:
        self.rates.add(id(group))


noting: dict[int, Notes] = {}  # by thread, while that records a call; modules and optimizers look here
_running: set[int] = set()  # threads in the Python of a captured function


def note(take: Callable[[Notes, Any], None], what: Any) -> None:
    """Notes.module, .optimizer or .rate of what this thread uses, where it records."""
    notes = noting.get(get_ident())
    if notes is not None:
        take(notes, what)


class Attributes:
    """Modules with copies of their attributes."""

    def __init__(self, modules: Iterable[tuple[Any, dict[str, Any]]]) -> None:
        pairs = list(modules)
        self._epoch: Any = None
        self._modules = tuple([module for module, _ in pairs])
        self._values = tuple([values for _, values in pairs])

    def hold(self) -> bool:
        """Whether the modules have these attributes, the same objects."""
        epoch = changes.epoch
        if self._epoch is not epoch:
            if not _core.hold(tuple(map(vars, self._modules)), self._values):
                return False
            self._epoch = epoch
        return True


class Tensors:
    """Tensors with their memory and whether they require grad."""

    def __init__(self, tensors: Iterable[tuple[Tensor, Array, bool]]) -> None:
        states = list(tensors)
        self._tensors = tuple([tensor for tensor, _, _ in states])
        self._arrays = tuple([array for _, array, _ in states])
        self._requires_grad = bytes([requires_grad for _, _, requires_grad in states])

    def hold(self) -> bool:
        """Whether both are the same."""
        return _core.are_unchanged(self._tensors, self._arrays, self._requires_grad)


class _State:
    """What a recorded call has taken over from modules, optimizers and tensors, as it was before the call."""

    def __init__(self, notes: Notes, touched: list[tuple]) -> None:
        self._attributes = Attributes(notes.modules.values())
        self._tensors = Tensors([(tensor, array, wanted) for tensor, array, _, wanted, _ in touched])
        self.optimizers = [optimizer for optimizer, _ in notes.optimizers.values()]
        pairs = [pair for _, state in notes.optimizers.values() for pair in state]
        self._holders = tuple([holder for holder, _ in pairs])
        self._values: tuple[Any, ...] = tuple([values for _, values in pairs])

    def holds(self) -> bool:
        return self._tensors.hold() and self._attributes.hold() and _core.hold(self._holders, self._values)

    def exempt_rates(self, groups: set[int]) -> None:
        """Learning rates that recorded kernels read may change."""
        self._values = tuple(
            [
                {**values, "lr": ...} if id(holder) in groups else values
                for holder, values in zip(self._holders, self._values, strict=True)
            ]
        )


class _Gradients:
    """What a recorded call did to the `.grad` of tensors."""

    def __init__(self, touched: list[tuple]) -> None:
        self._touched = [(tensor, before) for tensor, _, before, _, used in touched if used]
        self._fixed: tuple[tuple, tuple] = (), ()  # tensors, and what their .grad has to be before a replay
        self._cleared: tuple[Tensor, ...] = ()
        self.made: tuple[Tensor, ...] = ()  # by the call, in the order of the program's results

    def compare(self, program: _core.Program) -> str:
        """Why the calls cannot be replayed, if so. Gradients that the calls do not read may be anything."""
        fixed: list[tuple[Tensor, Any]] = []
        cleared: list[Tensor] = []
        made: list[Tensor] = []
        for tensor, before in self._touched:
            grad = tensor.grad
            read = isinstance(before, Tensor) and program.knows(before._array)
            if read and grad is not before:
                return "it reads gradients from before the call and replaces them: call zero_grad() first"
            if before is None or read or grad is before:
                fixed.append((tensor, before))
            if grad is not before:
                if not (grad is None or isinstance(grad, Tensor)):
                    return f"it sets .grad to something of type {type(grad).__name__}"
                (cleared if grad is None else made).append(tensor)
        self._touched = []
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

    def __init__(self) -> None:
        self.recordings: list[_Recording] = []
        self.attempts = 0  # since one that was worth it

    def may_record(self) -> bool:
        if any([r.replays >= MOST_ATTEMPTS for r in self.recordings[:1]]):
            self.attempts = 0
        return self.attempts < MOST_ATTEMPTS


class Captured:
    """What `capture` makes of a function. `reason`: why the last attempt to record it failed, if it did."""

    def __init__(self, function: Callable[..., Any], strict: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"capture: expected a function, got {type(function).__name__}")
        functools.update_wrapper(self, function, updated=())
        self._function, self._strict = function, bool(strict)
        self._kinds: dict[Any, _Kind] = {}
        self._attribute = getattr(function, "__name__", "")
        self.reason = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._attribute = name

    def __reduce__(self) -> tuple:
        return Captured, (self._function, self._strict)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Of a method: each instance has recordings of its own, kept among its attributes."""
        if instance is None:
            return self
        bound = Captured(self._function.__get__(instance), self._strict)
        object.__setattr__(instance, self._attribute, bound)
        return bound

    @property
    def nbytes(self) -> int:
        """The memory of all recordings, in bytes."""
        return sum(r.program.nbytes for kind in self._kinds.values() for r in kind.recordings)

    def clear(self) -> None:
        """Forget all recordings and let their memory go."""
        self._kinds = {}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        given, names, thread = [*args, *kwargs.values()], tuple(kwargs), get_ident()
        parts: list[Any] = [names, _core.is_strict(), _core.is_grad_enabled()]
        arrays, reason = [], ""
        for i, value in enumerate(given):
            if isinstance(value, np.ndarray):
                value = given[i] = as_tensor(value)
            if isinstance(value, Tensor):
                if value.requires_grad:
                    reason = "an input requires grad"
                arrays.append(value._array)
                parts.append(arrays[-1].layout)
            else:
                parts.append(self._constant(value))
        if thread in _running or _core.is_recording():  # a part of another captured function
            return self._call(given, names)
        key = tuple(parts)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                reason = reason or f"there are more than {MOST_KINDS} kinds of inputs"
        elif not reason:
            for recording in kind.recordings:
                if recording.fits():
                    if not recording.program.overwrites(arrays):
                        return recording.replay(arrays)
                    reason = "an input lies in memory that it changes"
                    break
            if not (reason or kind.may_record()):
                reason = self.reason or "something that it reads changes with every call"
        if reason:
            self._refuse(reason)
        try:
            _running.add(thread)
            if kind is not None and not reason:
                return self._recorded(kind, given, names)
            result = _detached(self._call(given, names))
        finally:
            _running.discard(thread)
        if not reason:
            self._kinds[key] = _Kind()
        return result

    def _constant(self, value: Any) -> tuple:
        """What tells one argument that is no tensor from another."""
        if value is None or isinstance(value, bool | int | str):
            return type(value), value
        if isinstance(value, float | np.generic):
            return type(value), repr(value)  # -0.0 is not 0.0
        raise TypeError(
            f"{self._name}: expected tensors, arrays, numbers, strings or None as arguments of a captured function, "
            f"got {type(value).__name__}"
        )

    @property
    def _name(self) -> str:
        return getattr(self, "__qualname__", type(self._function).__name__)

    def _call(self, given: list[Any], names: tuple[str, ...]) -> Any:
        """The last of what is given under these names."""
        positional = len(given) - len(names)
        return self._function(*given[:positional], **dict(zip(names, given[positional:], strict=True)))

    def _refuse(self, reason: str) -> None:
        if self._strict:
            raise CaptureError(f"{self._name}: {reason}")
        if reason != self.reason:
            import logging  # 20 modules of the standard library, for what is rare

            logging.getLogger(__name__).info("%s is called as usual, not replayed: %s", self._name, reason)
        self.reason = reason

    def _recorded(self, kind: _Kind, given: list[Any], names: tuple[str, ...]) -> Any:
        """The result of an ordinary call, which is recorded if it can be."""
        program, notes, thread = _core.Program(), Notes(), get_ident()
        recording = None
        try:
            noting[thread] = notes
            root = getattr(self._function, "__self__", None)
            if callable(getattr(root, "modules", None)):  # of `model.forward`
                notes.module(root)
            inputs = [v._array for v in given if isinstance(v, Tensor)]  # before it takes note of what uses tensors
            versions = [a.version for a in inputs]
            program.begin(self._strict)
            copies = iter([Tensor._wrap(program.input(a)) for a in inputs])
            private = [next(copies) if isinstance(v, Tensor) else v for v in given]
            result = self._call(private, names)
            arrays: list[Array] = []
            form = _form(result, arrays)
            if versions != [a.version for a in inputs] or program.overwrites(inputs):
                raise CaptureError(f"{self._name}: the function changes memory in place that an input lies in")
            reason = program.refusal or _changed_inputs(given, private)
            if form is _NO_FORM:
                result = _detached(result)
                reason = (
                    reason or "it returns something else than tensors, None, and tuples, lists or dictionaries of them"
                )
            else:
                # Views: who else holds a result would see it go stale.
                arrays = [_view(a) for a in arrays]
                result = _filled(form, iter(arrays))
            if not reason:
                recording, reason = _finished(program, notes, private, form, arrays)
        finally:
            program.abort()
            noting.pop(thread, None)
        kind.attempts += 1
        if recording is None:
            self._refuse(reason)
        else:
            kind.recordings = [recording, *kind.recordings[: MOST_KEPT - 1]]
            self.reason = ""
            _core.release_memory()  # that of the ordinary calls, which is not needed any more
        return result


def _changed_inputs(given: list[Any], private: list[Any]) -> str:
    """Why the call cannot be replayed, if it has made its inputs require grad; the caller's then do so, too."""
    reason = ""
    for tensor, copy in zip(given, private, strict=True):
        if isinstance(tensor, Tensor) and (copy.requires_grad or copy.grad is not None):
            tensor.requires_grad, tensor.grad = copy.requires_grad, copy.grad
            reason = "an input requires grad"
    return reason


def _finished(
    program: _core.Program, notes: Notes, private: list[Any], form: Any, arrays: list[Array]
) -> tuple[_Recording | None, str]:
    """The recording, or why there is none."""
    inputs = set(map(id, private))
    touched = [t for t in program.touched() if id(t[0]) not in inputs]
    replaced = {id(before) for tensor, _, before, _, used in touched if used and tensor.grad is not before}
    touched = [t for t in touched if id(t[0]) not in replaced]
    state, gradients = _State(notes, touched), _Gradients(touched)
    if not state.holds():
        return None, "attributes or tensors of a module, or options or state of an optimizer, change in the call"
    state.exempt_rates(notes.rates)
    reason = gradients.compare(program)
    if reason:
        return None, reason
    made = [_view(t.grad._array) for t in gradients.made]
    _core.set_gradients(gradients.made, made)
    try:
        program.finish([*arrays, *made])
    except CaptureError as error:
        return None, str(error)
    return _Recording(program, state, gradients, form), ""


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

    A replay sees what changes in place (weights, running sums, states of optimizers and random numbers) and the
    learning rates of pynn's optimizers. Where an attribute of a module that was called, an option of an optimizer that
    stepped, or memory, `.grad` or `requires_grad` of a tensor that was used is another object than it was, it is
    recorded again. Other Python is not run: what it prints, counts, changes in lists or draws from NumPy stays as it
    was while recording. It has to read no value of a tensor (`item()`, `numpy()`, `if loss > 1`), to change no input in
    place and to keep no new tensor but gradients. What cannot be recorded is called as usual, and `reason` says why;
    with `strict` it is a CaptureError, which an input that is changed in place always is. A recording keeps the memory
    of a call (`nbytes`, in bytes) until `clear()`.

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


def _view(array: Array) -> Array:
    return _core.permute(array, list(range(array.ndim)))


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
