"""DLPack to and from NumPy and PyTorch."""

import gc

import numpy as np
import pytest

import pynn
from pynn import _core

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")


def values(dtype, shape=(3, 4)):
    return (np.arange(np.prod(shape)).reshape(shape) % 2).astype(dtype)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("dtype", DTYPES)
def test_to_numpy(dtype):
    t = pynn.tensor(values(dtype))
    n = np.from_dlpack(t)
    assert n.dtype == dtype and np.array_equal(n, values(dtype))
    n[0, 0] = 1
    assert t.numpy()[0, 0] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_numpy(dtype):
    n = values(dtype)
    t = pynn.from_dlpack(n)
    assert t.dtype == dtype and np.array_equal(t.numpy(), n)
    n[0, 0] = 1
    assert t.numpy()[0, 0] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_both_ways(torch, dtype):
    t = pynn.tensor(values(dtype))
    there = torch.from_dlpack(t)
    assert np.array_equal(there.numpy(), values(dtype))
    back = pynn.from_dlpack(there)
    there[0, 0] = 1
    assert back.dtype == dtype and back.numpy()[0, 0] == 1 and t.numpy()[0, 0] == 1
    assert back._array.pointer == t._array.pointer


def test_torch_capsules(torch):
    source = torch.arange(6.0).reshape(2, 3)
    capsule = torch.utils.dlpack.to_dlpack(source)
    t = pynn.from_dlpack(capsule)
    assert np.array_equal(t.numpy(), source.numpy())
    with pytest.raises(ValueError, match="that nobody has consumed"):
        pynn.from_dlpack(capsule)


LAYOUTS = {
    "transposed": lambda a: a.T,
    "strided": lambda a: a[::2, 1::2],
    "reversed": lambda a: a[::-1, ::-1],
    "zero-dimensional": lambda a: a[1, 2, ...],
    "empty": lambda a: a[:0],
    "broadcast": lambda a: np.broadcast_to(a[0], (5, 4)),
    "offset": lambda a: a[1:, 1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    n = LAYOUTS[layout](np.arange(12, dtype=np.float32).reshape(3, 4))
    t = pynn.from_dlpack(n)
    assert t.shape == n.shape and np.array_equal(t.numpy(), n)
    back = np.from_dlpack(t)
    assert np.array_equal(back, n)
    assert np.array_equal(pynn.from_dlpack(t).numpy(), n)


def test_read_only_memory():
    n = np.arange(4.0)
    n.flags.writeable = False
    t = pynn.from_dlpack(n)
    assert t._array.readonly and not np.from_dlpack(t).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        _core.fill_(t._array, 1)
    with pytest.raises(BufferError, match=r"read-only array needs a consumer of DLPack 1\.0"):
        t.__dlpack__()


def test_versions_and_copies():
    t = pynn.tensor([1.0, 2.0])
    assert '"dltensor"' in repr(t.__dlpack__())
    assert '"dltensor"' in repr(t.__dlpack__(max_version=(0, 8)))
    assert '"dltensor_versioned"' in repr(t.__dlpack__(max_version=(1, 0)))
    copy = np.from_dlpack(t, copy=True)
    copy[0] = 9
    assert t.numpy()[0] == 1
    assert t.__dlpack_device__() == (1, 0)


def test_bad_requests():
    t = pynn.tensor([1.0])
    with pytest.raises(BufferError, match="stream=None"):
        t.__dlpack__(stream=1)
    with pytest.raises(BufferError, match=r"cannot export to \(2, 0\)"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="requires grad"):
        pynn.tensor([1.0], requires_grad=True).__dlpack__()
    with pytest.raises(TypeError, match="expected an object with __dlpack__, got list"):
        pynn.from_dlpack([1.0])
    with pytest.raises(TypeError, match="type code 2 of 16 bits"):
        pynn.from_dlpack(np.zeros(3, np.float16))
    with pytest.raises(TypeError, match="type code 5 of 64 bits"):
        pynn.from_dlpack(np.zeros(3, np.complex64))

    class Gpu:
        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, **kwargs):
            raise AssertionError("not reached")

    with pytest.raises(BufferError, match="expected memory of the CPU, got device type 2"):
        pynn.from_dlpack(Gpu())


def test_an_old_producer():
    class Old:
        array = np.arange(3.0)

        def __dlpack__(self, stream=None):
            return self.array.__dlpack__()

    assert np.array_equal(pynn.from_dlpack(Old()).numpy(), Old.array)


def live():
    gc.collect()
    return pynn.memory_stats()["live_bytes"]


def test_ownership():
    before = live()
    t = pynn.tensor(np.zeros(1000, np.float32))
    capsules = [t.__dlpack__(), t.__dlpack__(max_version=(1, 0))]
    n = np.from_dlpack(t)
    there_and_back = pynn.from_dlpack(t)
    del t
    assert live() > before
    n[0] = 1
    assert there_and_back.numpy()[0] == 1
    del n, there_and_back
    assert live() > before
    del capsules  # never consumed
    assert live() == before


def test_foreign_memory_lives_as_long_as_its_views():
    class Source(np.ndarray):
        gone = 0

        def __del__(self):
            Source.gone += 1

    source = np.zeros(10).view(Source)
    view = _core.index(_core.from_dlpack(source), slice(2, 4))
    del source
    gc.collect()
    np.asarray(view)[0] = 1
    assert Source.gone == 0
    del view
    gc.collect()
    assert Source.gone == 1
