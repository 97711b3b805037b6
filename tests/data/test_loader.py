"""Batches: every sample once an epoch, an order fixed by (seed, epoch), exact resume."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import pynn
from pynn.data import Loader


def numbers(n=10, **options):
    """A loader whose targets are the indices of the samples."""
    return Loader(np.arange(n, dtype=np.float32)[:, None] * [1, 10], np.arange(n), **options)


def order(batches):
    return [y.tolist() for _, y in batches]


def flat(batches):
    return [label for y in order(batches) for label in y]


def test_every_sample_comes_once_an_epoch_with_its_target():
    loader = numbers(batch_size=3)
    assert len(loader) == 4
    batches = list(loader)
    assert [x.shape for x, _ in batches] == [(3, 2), (3, 2), (3, 2), (1, 2)]
    assert sorted(flat(batches)) == list(range(10))
    for x, y in batches:
        np.testing.assert_array_equal(x.numpy(), y.numpy()[:, None] * np.array([1, 10]))
        assert x.dtype == np.float32 or x.dtype == np.float64
        assert y.dtype == np.int64


def test_drop_last():
    loader = numbers(batch_size=3, drop_last=True)
    assert len(loader) == 3 and len(flat(loader)) == 9
    assert len(numbers(2, batch_size=3, drop_last=True)) == 0


def test_without_shuffling_the_order_is_that_of_the_arrays():
    loader = numbers(batch_size=4, shuffle=False)
    for _ in range(2):
        assert order(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_seed_and_epoch_fix_the_order():
    first, second = numbers(100, seed=3), numbers(100, seed=3, batch_size=7)
    epochs = [flat(first) for _ in range(3)]
    assert [flat(second) for _ in range(3)] == epochs
    assert len({tuple(e) for e in epochs}) == 3
    assert flat(numbers(100, seed=4)) != epochs[0]
    second.epoch = 1
    assert flat(second) == epochs[1]


def test_order_is_uniform():
    """Each sample is equally often in each place: 6 samples, 3000 epochs, 500 ± 5 sigma."""
    loader = numbers(6, batch_size=6)
    counts = np.zeros((6, 6))
    for _ in range(3000):
        for place, label in enumerate(flat(loader)):
            counts[place, label] += 1
    assert np.abs(counts - 500).max() <= 5 * np.sqrt(3000 / 6 * 5 / 6)


@pytest.mark.parametrize("stop", range(9))
def test_resume_goes_on_exactly(stop):
    """4 batches an epoch; stop after 0 to 8 batches, in the second epoch too."""
    options = {"batch_size": 3, "seed": 5}
    loader = numbers(**options)
    expected = order(itertools.chain(loader, loader, loader))

    loader = numbers(**options)
    batches = itertools.chain.from_iterable(loader for _ in range(3))
    before = order(itertools.islice(batches, stop))
    state = loader.state_dict()

    other = numbers(**options)
    other.load_state_dict(state)
    after = order(itertools.islice(itertools.chain.from_iterable(other for _ in range(4)), 12 - stop))
    assert before + after == expected


def test_an_iteration_left_early_is_followed_by_the_next_epoch():
    loader, other = numbers(50, batch_size=5), numbers(50, batch_size=5)
    next(iter(loader))
    next(iter(loader))
    other.epoch = 2
    assert flat(loader) == flat(other)


def test_two_iterations_do_not_disturb_each_other():
    loader, other = numbers(50, batch_size=5), numbers(50, batch_size=5)
    pairs = list(zip(loader, loader, strict=True))
    assert flat(p[0] for p in pairs) == flat(other)
    assert flat(p[1] for p in pairs) == flat(other)


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 4}, {"shuffle": False}, {"drop_last": True}, {"n": 9}])
def test_a_state_of_another_order_is_refused(change):
    state = numbers(**{"batch_size": 3, **change}).state_dict()
    with pytest.raises(ValueError, match=r"Loader\.load_state_dict: expected"):
        numbers(batch_size=3).load_state_dict(state)


def test_kept_batches_stay_as_they_were():
    images = np.random.default_rng(0).integers(0, 256, (64, 5, 5), dtype=np.uint8)
    loader = Loader(images, np.arange(64), batch_size=8)
    for x, y in list(loader):
        np.testing.assert_allclose(x.numpy(), images[y.numpy()] / 255, rtol=1e-6)


def test_pixels_are_scaled():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    x = next(iter(Loader(images, batch_size=4, shuffle=False)))
    assert x.dtype == np.float32 and x.shape == (4, 8, 8)
    np.testing.assert_allclose(x.numpy(), images / 255, rtol=1e-6)
    x = next(iter(Loader(images, batch_size=4, shuffle=False, scale=1 / 16)))
    np.testing.assert_array_equal(x.numpy(), images / np.float32(16))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_mean_and_std(dtype):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5)).astype(dtype)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.5, 1, 2])
    for m, s in ((0.25, 0.5), (mean, std), (mean, 2.0)):
        x = next(iter(Loader(images, batch_size=6, shuffle=False, scale=1 / 255, mean=m, std=s)))
        shaped = (np.broadcast_to(v, 3).reshape(3, 1, 1) for v in (m, s))
        expected = (images / 255 - next(shaped)) / next(shaped)
        assert x.dtype == np.float32
        np.testing.assert_allclose(x.numpy(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.bool_])
def test_other_inputs_are_taken_as_they_are(dtype):
    inputs = np.random.default_rng(0).integers(0, 2, (7, 3)).astype(dtype)
    (x,) = Loader(inputs, batch_size=7, shuffle=False)
    assert x.dtype == dtype
    np.testing.assert_array_equal(x.numpy(), inputs)


@pytest.mark.parametrize("layout", ["reversed", "strided", "fortran", "transposed", "read-only"])
def test_arrays_of_any_layout(layout):
    base = np.random.default_rng(0).integers(0, 256, (12, 6), dtype=np.uint8)
    inputs = {
        "reversed": base[::-1],
        "strided": base[::2, ::3],
        "fortran": np.asfortranarray(base),
        "transposed": base.T,
        "read-only": base.copy(),
    }[layout]
    if layout == "read-only":
        inputs.flags.writeable = False
    (x,) = Loader(inputs, batch_size=20, shuffle=False, scale=1)
    np.testing.assert_array_equal(x.numpy(), inputs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_integer_targets_become_int64(dtype):
    loader = Loader(np.zeros((3, 2), np.float32), np.array([0, 1, 2], dtype), shuffle=False)
    ((_, y),) = loader
    assert y.dtype == np.int64 and y.tolist() == [0, 1, 2]


def test_in_order_leaves_the_loader_alone():
    loader = numbers(batch_size=4, drop_last=True, seed=1)
    twin = numbers(batch_size=4, drop_last=True, seed=1)
    assert order(loader.in_order(8)) == [list(range(8)), [8, 9]]
    assert flat(loader) == flat(twin)
    (x,) = loader.in_order(10, targets=False)
    assert x.shape == (10, 2)


def test_take():
    x, y = numbers().take([3, -1])
    assert y.tolist() == [3, 9] and x.shape == (2, 2)
    with pytest.raises(IndexError, match="10 is out of range"):
        numbers().take([10])


def test_pickle_and_deepcopy():
    loader = Loader(np.arange(12, dtype=np.uint8).reshape(6, 2), np.arange(6), batch_size=4, seed=3)
    for other in (pickle.loads(pickle.dumps(loader)), copy.deepcopy(loader)):
        for (x, y), (a, b) in zip(loader, other, strict=True):
            np.testing.assert_array_equal(x.numpy(), a.numpy())
            np.testing.assert_array_equal(y.numpy(), b.numpy())
        loader.epoch = 0


def test_tensors_are_taken_too():
    loader = Loader(pynn.tensor([[1.0], [2.0]]), pynn.tensor([0, 1]), shuffle=False)
    ((x, y),) = loader
    assert x.tolist() == [[1.0], [2.0]] and y.tolist() == [0, 1]


BAD = {
    "lengths differ": (lambda x: Loader(x, np.zeros(5)), "expected as many targets as inputs, got 5 targets for 4"),
    "a number": (lambda x: Loader(1.0), "at least 1 dimension for inputs"),
    "batch size 0": (lambda x: Loader(x, batch_size=0), "whole number >= 1 for batch_size, got 0"),
    "batch size 2.5": (lambda x: Loader(x, batch_size=2.5), "whole number >= 1 for batch_size, got 2.5"),
    "seed": (lambda x: Loader(x, seed=-1), "whole number >= 0 for seed, got -1"),
    "std 0": (lambda x: Loader(x, std=0.0), "numbers > 0 for std"),
    "std NaN": (lambda x: Loader(x, std=[1, np.nan]), "numbers > 0 for std"),
    "mean inf": (lambda x: Loader(x, mean=np.inf), "finite numbers for scale and mean"),
    "mean and std": (lambda x: Loader(x, mean=[0, 0], std=[1, 1, 1]), "one value per channel"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_options(kind):
    make, message = BAD[kind]
    with pytest.raises(ValueError, match=f"Loader: .*{message}"):
        make(np.zeros((4, 3), np.float32))


def test_means_that_do_not_fit_the_channels():
    loader = Loader(np.zeros((4, 3, 2, 2), np.uint8), mean=[0, 0])
    with pytest.raises(ValueError, match="3 values of mean and std"):
        next(iter(loader))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "i1", "c8", "O"])
def test_a_dtype_that_tensors_have_not_is_named(dtype):
    with pytest.raises(TypeError, match=f"expected float32, .*, got dtype {np.dtype(dtype)}"):
        Loader(np.zeros((4, 2), dtype))
