import numpy as np
import pytest

import pynn
from opcase import isa
from pynn import _core


@pytest.mark.parametrize("name", _core.supported_isas())
def test_fma_counts_its_work(name):
    with isa(name):
        one, three = _core.peak_fma(100), _core.peak_fma(300)
    assert one > 0 and three == 3 * one


def test_fma_works_on_every_thread():
    with pynn.threads(1):
        one = _core.peak_fma(100)
    with pynn.threads(3):
        assert _core.peak_fma(100) == 3 * one


def test_fma_refuses_a_senseless_count():
    for rounds in (0, -1, 1 << 60):
        with pytest.raises(ValueError, match="peak_fma: expected 1 to"):
            _core.peak_fma(rounds)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100_000])
def test_copy_copies(n):
    source, target = np.random.default_rng(0).random(n, np.float32), np.zeros(n, np.float32)
    _core.peak_copy(source, target)
    assert np.array_equal(source, target)


def test_copy_checks_its_arguments():
    a = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match="shape"):
        _core.peak_copy(a, a[:4])
    with pytest.raises(TypeError, match="float32"):
        _core.peak_copy(a.astype(np.float64), a.astype(np.float64))
    with pytest.raises(ValueError, match="contiguous"):
        _core.peak_copy(a[::2], a[1::2])
    frozen = a.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.peak_copy(a, frozen)
