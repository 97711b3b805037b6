"""Whatever a caller passes, an op answers or raises a clear error; nothing crashes the interpreter."""

import inspect
import itertools

import numpy as np
import pytest

import pynn
from pynn import ops

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
