"""Record and replay of three kernel calls, with every hazard that Python can add."""

import gc
import threading
import weakref

import numpy as np
import pytest

import pynn
from opcase import all_threads, same_bits
from pynn import CaptureError, _core
from runtime.test_threads import child_result

rng = np.random.default_rng(0)


def array(values):
    return _core.copy(_core.wrap(np.ascontiguousarray(values, dtype=np.float32)))


def draw(shape=(6, 40)):
    return array(rng.standard_normal(shape))


def three_ops(u, v):
    """tanh and its gradient, then the sigmoid of both side by side: views, a temporary, two inputs."""
    y = _core.activation(u, "tanh")
    gradient = _core.activation_backward(v, y, "tanh")
    return _core.activation(_core.permute(gradient, [1, 0]), "sigmoid")


def host(a):
    return np.array(a)


class Recording:
    """Ends the recording whatever happens, as a user of `Program` has to."""

    def __init__(self, *inputs):
        self.program = _core.Program()
        self.inputs = inputs

    def __enter__(self):
        self.program.begin()
        return self.program, [self.program.input(a) for a in self.inputs]

    def __exit__(self, *exc):
        self.program.abort()


class Kept(np.ndarray):
    """An array that weak references may go to."""


def recorded(function, *inputs):
    with Recording(*inputs) as (program, private):
        results = function(*private)
        program.finish(list(results) if isinstance(results, tuple) else [results])
    return program


def live() -> int:
    gc.collect()
    return pynn.memory_stats()["live_bytes"]


def test_replay_equals_eager():
    u, v = draw(), draw()
    program = recorded(three_ops, u, v)
    assert program.calls == ["activation", "activation_backward", "activation"] and program.nbytes >= 3 * 960
    for _ in range(3):
        u, v = draw(), draw()
        (result,) = program.replay([u, v])
        assert same_bits(host(result), host(three_ops(u, v)))
    for threads in (1, 2, 3, 7):
        with all_threads(threads):
            assert same_bits(host(program.replay([u, v])[0]), host(three_ops(u, v)))


def test_one_array_twice_then_two():
    u, v = draw(), draw()
    program = recorded(three_ops, u, u)
    assert same_bits(host(program.replay([u, v])[0]), host(three_ops(u, v)))
    assert same_bits(host(program.replay([v, v])[0]), host(three_ops(v, v)))


def test_an_input_that_is_also_a_constant():
    constant, u = draw(), draw()

    def function(a):
        return _core.activation_backward(a, constant, "sigmoid")

    program = recorded(function, constant)
    for a in (u, constant):
        assert same_bits(host(program.replay([a])[0]), host(function(a)))
    _core.fill_(constant, 0.25)  # a change in place is seen
    assert same_bits(host(program.replay([u])[0]), host(function(u)))


def test_inputs_in_other_layouts_and_kinds():
    u, v = rng.standard_normal((2, 40, 6)).astype(np.float32)
    program = recorded(three_ops, array(u), array(v))
    expected = host(three_ops(array(u), array(v)))
    fortran = np.asfortranarray(u)
    spaced = np.repeat(v, 2, axis=1)[:, ::2]
    shifted = np.zeros(u.size + 1, np.float32)[1:].reshape(u.shape)
    shifted[...] = u
    read_only = v.copy()
    read_only.flags.writeable = False
    assert same_bits(host(program.replay([fortran, spaced])[0]), expected)
    assert same_bits(host(program.replay([shifted, read_only])[0]), expected)
    transposed = recorded(three_ops, np.asfortranarray(u), np.asfortranarray(v))
    assert same_bits(host(transposed.replay([u, fortran * 0 + v])[0]), expected)


def test_inputs_with_gaps():
    u, v = rng.standard_normal((2, 40, 12)).astype(np.float32)
    program = recorded(three_ops, u[:, ::2], v[::-1, ::2])
    assert same_bits(host(program.replay([v[:, ::2], u[::-1, ::2]])[0]), host(three_ops(v[:, ::2], u[::-1, ::2])))
    with pytest.raises(ValueError, match="input 0 was recorded with gaps"):
        program.replay([array(u[:, :6]), v[::-1, ::2]])


def test_views_of_one_block():
    def function(u):
        y = _core.activation(u, "tanh")
        rows = _core.index(y, (slice(1, 3), ...))
        return _core.copy(_core.index(rows, (..., slice(None, None, -2)))), _core.reshape(rows, (-1,)), rows

    program = recorded(function, draw())
    u = draw()
    for got, expected in zip(program.replay([u]), function(u), strict=True):
        assert same_bits(host(got), host(expected))


def test_results_that_are_inputs_or_constants():
    constant = draw()
    program = recorded(lambda u: (_core.permute(u, [1, 0]), constant), draw())
    u = draw()
    transposed, same = program.replay([u])
    assert same_bits(host(transposed), host(u).T) and transposed.pointer == u.pointer
    assert same.pointer == constant.pointer


def test_kept_results():
    program = recorded(three_ops, draw(), draw())
    inputs = [(draw(), draw()) for _ in range(50)]
    kept = [program.replay(pair)[0] for pair in inputs]
    for result, pair in zip(kept, inputs, strict=True):
        assert same_bits(host(result), host(three_ops(*pair)))


def test_a_numpy_view_of_a_dropped_result():
    program = recorded(three_ops, draw(), draw())
    part = np.asarray(program.replay([draw(), draw()])[0])[3:5]
    before = part.copy()
    for _ in range(3):
        program.replay([draw(), draw()])
    assert same_bits(part, before)


def test_a_result_that_is_the_next_input():
    def step(h):
        return _core.activation(h, "tanh")

    program = recorded(step, draw())
    h = replayed = draw()
    for _ in range(20):
        h, replayed = step(h), program.replay([replayed])[0]
    assert same_bits(host(replayed), host(h))


def test_a_held_result_costs_one_more_block():
    program = recorded(three_ops, draw(), draw())
    u, v = draw(), draw()
    held = program.replay([u, v])
    before = live()
    for _ in range(100):
        held = program.replay([u, v])
    assert live() == before
    del held


def test_in_place_updates_of_memory_outside():
    parameter, u = draw(), draw()
    expected = host(parameter)

    def step(a):
        _core.copy_(parameter, _core.activation(_core.activation_backward(a, parameter, "tanh"), "tanh"))
        return ()

    program = recorded(step, u)
    _core.copy_(parameter, array(expected))
    version = parameter.version
    program.replay([u])
    program.replay([u])
    got = host(parameter)
    assert parameter.version == version + 2
    _core.copy_(parameter, array(expected))
    step(u)
    step(u)
    assert same_bits(got, host(parameter))


def test_refusals():
    u = draw()
    with pytest.raises(CaptureError, match="'fill' changes an input of the captured function in place"):
        recorded(lambda a: _core.fill_(a, 3), u)
    stash = []
    with pytest.raises(CaptureError, match=r"1024 bytes, made by 'activation' during the capture, is still held after"):
        recorded(lambda a: (stash.append(_core.activation(a, "relu")), a)[1], u)
    assert same_bits(host(stash[0]), host(_core.activation(u, "relu")))  # it lives on
    outer, inner = _core.Program(), _core.Program()
    outer.begin()
    with pytest.raises(CaptureError, match="under way on this thread"):
        inner.begin()
    outer.abort()
    done = recorded(three_ops, u, u)
    with Recording(u), pytest.raises(CaptureError, match="inside a capture"):
        done.replay([u, u])
    with pytest.raises(CaptureError, match="records once"):
        done.begin()
    with pytest.raises(CaptureError, match="not recorded to its end"):
        _core.Program().replay([])
    for unstarted in (lambda p: p.finish([]), lambda p: p.input(u)):
        with pytest.raises(CaptureError, match="does not record"):
            unstarted(_core.Program())
    assert not _core.is_recording()
    assert issubclass(CaptureError, RuntimeError)


def test_replay_checks_its_inputs():
    program = recorded(three_ops, draw(), draw())
    u = draw()
    with pytest.raises(ValueError, match="expected 2 inputs, got 1"):
        program.replay([u])
    with pytest.raises(ValueError, match="expected 2 inputs, got 3"):
        program.replay([u, u, u])
    with pytest.raises(ValueError, match=r"input 1 was recorded with shape \(6, 40\), got \(40, 6\)"):
        program.replay([u, draw((40, 6))])
    with pytest.raises(TypeError, match="input 0 was recorded with dtype float32, got float64"):
        program.replay([np.zeros((6, 40)), u])


READS = {
    "item": lambda a: _core.item(_core.index(a, (0, 0))),
    "asarray": np.asarray,
    "tanh": np.tanh,
    "memoryview": memoryview,
    "interface": lambda a: a.__array_interface__,
    "dlpack": lambda a: a.__dlpack__(),
    "from_dlpack": np.from_dlpack,
    "repr": lambda a: repr(pynn.Tensor._wrap(a)),
}


@pytest.mark.parametrize("read", READS)
def test_the_host_may_not_look(read):
    u = draw()
    with pytest.raises(CaptureError, match="during a capture"):
        recorded(lambda a: (READS[read](_core.activation(a, "relu")), a)[1], u)
    assert not _core.is_recording()
    READS[read](_core.activation(u, "relu"))  # and may again


def test_a_swallowed_error_is_repeated_at_the_end():
    def function(a):
        y = _core.activation(a, "relu")
        with pytest.raises(CaptureError):
            np.asarray(y)
        return y

    with pytest.raises(CaptureError, match="during a capture"):
        recorded(function, draw())


def test_exceptions_leave_nothing_behind():
    u = draw()
    before = live()

    def broken(a):
        _core.activation(a, "relu")
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            recorded(broken, u)
    assert live() == before and not _core.is_recording()
    assert recorded(three_ops, u, u).replay([u, u])


def test_garbage_cycles_are_no_escapes():
    def function(a):
        y = _core.activation(a, "relu")
        cycle = [y]
        cycle.append(cycle)
        return _core.activation(y, "tanh")

    gc.disable()
    try:
        recorded(function, draw())
    finally:
        gc.enable()


def test_misaligned_host_memory_is_a_constant():
    raw = np.zeros(241 * 4 + 2, np.uint8)
    odd = raw[2 : 2 + 240 * 4].view(np.float32).reshape(6, 40)  # wrapped by a copy that no launch repeats
    odd[...] = rng.standard_normal((6, 40))
    program = recorded(lambda a: three_ops(a, odd), draw())
    for _ in range(2):
        u = draw()
        assert same_bits(host(program.replay([u])[0]), host(three_ops(u, odd)))


def test_an_input_is_not_kept():
    given = np.ones((6, 40), np.float32).view(Kept)
    gone = weakref.ref(given)
    with Recording(given) as (program, (a,)):
        program.finish([_core.activation(a, "tanh")])
    del given, a
    gc.collect()
    assert gone() is None


def test_foreign_arrays_may_lie_in_each_other():
    memory = np.arange(240, dtype=np.float32)
    backwards, middle = memory[::-1].reshape(6, 40), memory[120:160]

    def function(a):
        return _core.add(_core.add(a, middle), backwards)

    program = recorded(function, draw())
    u = draw()
    assert same_bits(host(program.replay([u])[0]), host(function(u)))


def test_dropped_programs_give_their_memory_back():
    before = live()
    programs = [recorded(three_ops, draw(), draw()) for _ in range(20)]
    assert live() >= before + sum(p.nbytes for p in programs)
    (result,) = programs[0].replay([draw(), draw()])
    value = host(result)
    programs.clear()
    assert same_bits(host(result), value)
    del result
    assert live() == before


def test_a_program_dropped_while_recording():
    program = _core.Program()
    program.begin()
    del program
    assert not _core.is_recording()


def test_work_of_other_threads_is_not_recorded():
    u, v = draw(), draw()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            three_ops(u, v)

    other = threading.Thread(target=work)
    other.start()
    try:
        for _ in range(20):
            assert len(recorded(three_ops, u, v).calls) == 3
    finally:
        stop.set()
        other.join()


def test_many_threads_replay_one_program():
    program = recorded(three_ops, draw(), draw())
    wrong = []

    def work(u, v, expected):
        for _ in range(100):
            if not same_bits(host(program.replay([u, v])[0]), expected):
                wrong.append(1)

    pairs = [(draw(), draw()) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(u, v, host(three_ops(u, v)))) for u, v in pairs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_fork_while_another_thread_replays():
    u, v = draw(), draw()
    expected = host(three_ops(u, v))
    program = recorded(three_ops, u, v)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            program.replay([u, v])

    def check():
        assert same_bits(host(program.replay([u, v])[0]), expected)

    other = threading.Thread(target=work)
    other.start()
    try:
        assert [child_result(check) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        other.join()


@pytest.mark.slow
def test_ten_thousand_replays_leave_memory_flat():
    program = recorded(three_ops, draw(), draw())
    u, v = draw(), draw()
    before = live()
    for _ in range(10_000):
        program.replay([u, v])
    assert live() == before
