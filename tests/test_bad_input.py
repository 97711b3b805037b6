"""Whatever a caller passes, an op answers or raises a clear error; nothing crashes the interpreter."""

import inspect
import itertools

import numpy as np
import pytest

import pynn
from pynn import _core, ops

CLEAR = (ValueError, TypeError, IndexError, RuntimeError, MemoryError)
OPS = sorted(ops.__all__)


def read_only(a):
    a.flags.writeable = False
    return a


ODD = {
    "0-d": np.float32(1.5),
    "empty": np.zeros((0, 3), np.float32),
    "no columns": np.zeros((3, 0), np.float32),
    "vector": np.arange(3, dtype=np.float32),
    "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
    "8-d": np.ones([1, 2] * 4, np.float32),
    "float64": np.ones((3, 4)),
    "int64": np.arange(12).reshape(3, 4),
    "int32": np.arange(-6, 6, dtype=np.int32).reshape(3, 4),
    "uint8": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "bool": np.ones((3, 4), bool),
    "float16": np.ones((3, 4), np.float16),
    "complex": np.ones((3, 4), np.complex64),
    "big-endian": np.ones((3, 4), ">f4"),
    "strided": np.ones((6, 8), np.float32)[::-2, ::2],
    "unaligned": np.frombuffer(b"\0" + np.ones(12, np.float32).tobytes(), np.float32, 12, 1).reshape(3, 4),
    "read-only": read_only(np.ones((3, 4), np.float32)),
    "nan": np.full((3, 4), np.nan, np.float32),
    "huge numbers": np.full((3, 4), 3e38, np.float32),
    "huge labels": np.array([2**62, -(2**62), 7]),
    "expanded": np.broadcast_to(np.float32(2), (3, 4)),
    "list": [[1.0, 2.0], [3.0, 4.0]],
    "ragged": [[1.0], [2.0, 3.0]],
    "text": "text",
    "none": None,
    "number": 3,
    "object": object(),
    "tensor": pynn.ones(3, 4, requires_grad=True),
}


def call(op, arguments):
    try:
        out = op(*arguments)
    except CLEAR as error:
        assert str(error), f"{op.__name__}: an error without a message"
        return
    for t in out if isinstance(out, tuple) else (out,):
        np.asarray(t.detach()) if isinstance(t, pynn.Tensor) else t


@pytest.mark.parametrize("name", OPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_arguments(name):
    op = getattr(ops, name)
    parameters = inspect.signature(op).parameters.values()
    arity = sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    for arguments in itertools.product(ODD.values(), repeat=min(arity, 2)):
        call(op, arguments + ("matrix",) * (arity - len(arguments)))
    for value in ODD.values():
        call(op, (value,) * max(1, arity))


VARIADIC = {"expand", "permute", "reshape"}


@pytest.mark.parametrize("name", sorted(set(OPS) - VARIADIC))
def test_wrong_arity_is_a_type_error(name):
    with pytest.raises(TypeError):
        getattr(ops, name)(*[1] * 20)


def test_indirect_buffers_are_copied():
    """Rows behind pointers (PEP 3118 suboffsets) cannot be read in place."""
    testbuffer = pytest.importorskip("_testbuffer")
    rows = testbuffer.ndarray(list(range(6)), shape=[2, 3], format="i", flags=testbuffer.ND_PIL)
    np.testing.assert_array_equal(_core.copy(rows), [[0, 1, 2], [3, 4, 5]])


def test_writes_into_misaligned_memory_are_refused():
    """Such memory is copied: what is written there would be lost."""
    odd = np.zeros(37, np.uint8)[1:].view(np.float32).reshape(3, 3)
    ones = np.ones((3, 3), np.float32)
    with pytest.raises(ValueError, match="read-only"):
        pynn.kernels.gemm(ones, ones, out=odd)
    with pytest.raises(ValueError, match="read-only"):
        pynn.as_tensor(odd).fill_(7)
    assert np.array_equal((pynn.as_tensor(odd) + ones).numpy(), ones)
    for _ in range(4):  # the copy's memory goes to other arrays
        pynn.zeros(3, 3).fill_(7)


def test_a_consumer_gets_the_order_that_it_asks_for():
    testbuffer = pytest.importorskip("_testbuffer")
    rows = _core.full((3, 4), 1.0, np.float32)
    columns, spaced = _core.permute(rows, (1, 0)), _core.index(rows, (slice(None), slice(None, None, 2)))
    both = _core.full((3,), 1.0, np.float32)
    c, f, either = testbuffer.PyBUF_C_CONTIGUOUS, testbuffer.PyBUF_F_CONTIGUOUS, testbuffer.PyBUF_ANY_CONTIGUOUS
    fitting = [(rows, c), (rows, either), (columns, f), (columns, either), (both, c), (both, f)]
    for array in (rows, columns, spaced, both):
        for order in (c, f, either):
            if any(array is a and order == o for a, o in [*fitting, (both, either)]):
                testbuffer.ndarray(array, getbuf=order)
            else:
                with pytest.raises(BufferError, match="order"):
                    testbuffer.ndarray(array, getbuf=order)


@pytest.mark.parametrize("step", [3, -3])
def test_views_of_strided_foreign_memory_are_known_to_a_capture(step):
    x = np.arange(60, dtype=np.float32)[::step]
    program = _core.Program()
    program.begin()
    y = _core.neg(_core.index(x, slice(12, 18)))
    program.finish([y])
    np.testing.assert_array_equal(program.replay([])[0], -x[12:18])
