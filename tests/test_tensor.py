import copy
import pickle

import numpy as np
import pytest

import pynn


def test_tensor_copies_and_as_tensor_shares():
    a = np.arange(3, dtype=np.float32)
    copied, shared = pynn.tensor(a), pynn.as_tensor(a)
    a[0] = 9
    assert copied.tolist() == [0, 1, 2]
    assert shared.tolist() == [9, 1, 2]
    assert np.shares_memory(shared.numpy(), a)


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, pynn.float32),
        ([1, 2], pynn.int64),
        ([True], pynn.bool_),
        ([[1.0, 2.0]], pynn.float32),
        (np.ones(2), pynn.float64),
        (np.float64(2), pynn.float64),
        (np.ones(2, np.uint8), pynn.uint8),
    ],
)
def test_dtypes_follow_pytorch(data, dtype):
    assert pynn.tensor(data).dtype == dtype


@pytest.mark.parametrize(
    "bad", ["text", [[1.0], [1.0, 2.0]], object(), None, np.ones(2, np.complex64), np.ones(2, np.int8)]
)
def test_other_data_is_refused(bad):
    with pytest.raises((TypeError, ValueError)):
        pynn.tensor(bad)


def test_text_is_called_by_its_name():
    with pytest.raises(TypeError, match="tensor: expected numbers of one shape, got str"):
        pynn.ones(2) + "a"


def test_read_only_memory_is_read_and_never_written():
    a = np.ones(3, np.float32)
    a.flags.writeable = False
    t = pynn.as_tensor(a)
    assert (t + 1).tolist() == [2, 2, 2]
    assert not t.numpy().flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        t.fill_(0)
    assert a.tolist() == [1, 1, 1]


def test_numpy_is_a_view_and_outlives_the_tensor():
    t = pynn.zeros(1000)
    view = t.numpy()
    t.fill_(3)
    del t
    other = pynn.full((1000,), 7.0)
    assert view.sum() == 3000
    assert other.numpy().sum() == 7000


def test_ndarray_times_tensor_is_a_tensor():
    a = np.ones((2, 2), np.float32)
    t = pynn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for out in (a * t, a + t, a - t, a / t, a @ t, 2 * t, 1 - t):
        assert isinstance(out, pynn.Tensor)
        assert out.requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.sum(t),
        lambda t: np.sum(t, axis=1, keepdims=True),
        lambda t: np.mean(t, axis=0),
        lambda t: np.max(t),
        lambda t: np.prod(t, axis=-1),
        lambda t: np.argmin(t, axis=1),
        lambda t: np.squeeze(t),
        lambda t: np.concatenate([t, t], axis=1),
        lambda t: np.where(t > 1, t, 0),
        lambda t: np.einsum("ij,kj->ik", t, t),
        lambda t: np.zeros_like(a=t),
    ],
)
def test_functions_of_numpy_give_arrays(call):
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    result, expected = call(pynn.tensor(values)), call(values)
    assert type(result) is type(expected)
    np.testing.assert_array_equal(result, expected)


def test_functions_of_numpy_drop_no_gradient():
    t = pynn.ones(2, 3, requires_grad=True)
    for call in (np.sum, np.mean, lambda t: np.concatenate([t, t])):
        with pytest.raises(RuntimeError, match="detach"):
            call(t)
    assert (np.shape(t), np.ndim(t), np.size(t), np.size(t, axis=1)) == ((2, 3), 2, 6, 3)


@pytest.mark.parametrize("other", [None, "a", b"a", {}, object(), 1j])
def test_what_is_no_number_is_not_equal(other):
    t = pynn.tensor([1.0, 2.0])
    assert (t == other) is False and (t != other) is True
    assert t in [other, t] and t not in [other]


def test_numbers_are_compared_by_value():
    t = pynn.tensor([1.0, 2.0])
    for other in (2, 2.0, np.float32(2), [0, 2], (0, 2), np.array([0, 2]), pynn.tensor([0, 2]), memoryview(b"\0\2")):
        assert (t == other).tolist() == [False, True] and (t != other).tolist() == [True, False]


def test_views_share_memory():
    t = pynn.tensor(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    for view in (t[0], t[:, 1:], t[..., ::-1], t[None], t.T, t.permute(2, 0, 1), t.reshape(6, 4), t.expand(5, 2, 3, 4)):
        assert np.shares_memory(view.numpy(), t.numpy())
    np.testing.assert_array_equal(t.permute(2, 0, 1).reshape(-1).numpy(), t.numpy().transpose(2, 0, 1).ravel())
    np.testing.assert_array_equal(t[1, ::2, -1].numpy(), t.numpy()[1, ::2, -1])
    np.testing.assert_array_equal(t[:, ::-2, 3:0:-1].numpy(), t.numpy()[:, ::-2, 3:0:-1])


@pytest.mark.parametrize("key", [5, (0, 9), (0, 0, 0, 0), "a", 1.0, (..., ...), True])
def test_bad_indices(key):
    t = pynn.zeros(2, 3, 4)
    with pytest.raises((IndexError, TypeError)):
        t[key]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:, ::2],
        lambda x: x.T,
        lambda x: x.reshape(2, 6),
        lambda x: x.flatten(),
        lambda x: x[None].expand(3, 3, 4) * 2,
        lambda x: x.unsqueeze(1).squeeze(1),
        lambda x: x.permute(1, 0).contiguous(),
        lambda x: x.clone(),
        lambda x: x.double(),
    ],
)
def test_gradients_of_views(view):
    x = pynn.tensor(np.random.default_rng(0).standard_normal((3, 4)), requires_grad=True)
    pynn.autograd.gradcheck(lambda t: view(t) * view(t), [x])


@pytest.mark.parametrize("shape", [(5,), (-2, 6), (-1, -1), (-1, 0), (2**62, 4), (2**40, 2**40)])
def test_bad_reshapes(shape):
    with pytest.raises(ValueError, match="reshape"):
        pynn.zeros(3, 4).reshape(shape)


@pytest.mark.parametrize("shape", [(2**62, 2**62), (2**61,), (-1,)])
def test_impossible_sizes(shape):
    with pytest.raises((ValueError, MemoryError)):
        pynn.empty(shape)


def test_more_than_8_dimensions_are_refused():
    with pytest.raises(ValueError, match="8 dimensions"):
        pynn.zeros(*[1] * 9)
    with pytest.raises(ValueError, match="8 dimensions"):
        pynn.tensor(np.zeros([1] * 9, np.float32))
    with pytest.raises(ValueError, match="8 dimensions"):
        pynn.zeros(*[1] * 8)[None]


def test_scalars():
    t = pynn.tensor(2.5)
    assert (t.item(), float(t), int(t), bool(t), t.shape) == (2.5, 2.5, 2, True, ())
    with pytest.raises(ValueError, match="one element"):
        pynn.zeros(2).item()
    with pytest.raises(TypeError, match="0-d"):
        len(t)


def test_formats_as_its_number():
    loss = pynn.tensor(3.14159)
    assert f"{loss:.2f}" == "3.14" and f"{loss}" == str(loss)
    with pytest.raises(TypeError, match="format"):
        f"{pynn.ones(2):.2f}"


def test_integers_are_an_index():
    three = pynn.tensor(3)
    assert [5, 6, 7, 8][three] == 8
    assert pynn.tensor([5, 6, 7, 8])[three].item() == 8
    for bad in (pynn.tensor(1.0), pynn.tensor(True), pynn.tensor([1, 2]), pynn.tensor([1])):
        with pytest.raises(TypeError, match="index"):
            [5, 6][bad]


@pytest.mark.parametrize("numbers", [[2, 0, -1], [1]])
@pytest.mark.parametrize("kind", [list, np.array, pynn.tensor, lambda n: pynn.tensor(n, dtype=pynn.int32)])
def test_a_vector_of_integers_names_rows(numbers, kind):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = pynn.tensor(values)[kind(numbers)]
    np.testing.assert_array_equal(rows.numpy(), values[numbers])


@pytest.mark.parametrize(
    "key",
    [
        pynn.tensor([True, False]),
        np.array([True, False]),
        pynn.ones(2),
        [[0], [1]],
        (0, pynn.tensor([1])),
        (pynn.tensor([1]), slice(None)),
    ],
)
def test_other_arrays_are_no_index(key):
    t = pynn.zeros(2, 3)
    with pytest.raises(TypeError, match="integer"):
        t[key]
    with pytest.raises(TypeError, match=r"ind(ex|ices)"):
        t[key] = 1
    with pytest.raises(TypeError, match="index"):
        t[pynn.tensor([1])] = 1
    assert t.tolist() == [[0] * 3] * 2


def test_rows_have_no_gradient():
    with pytest.raises(RuntimeError, match="gather_rows: the input requires grad"):
        pynn.ones(3, 2, requires_grad=True)[pynn.tensor([1])]


@pytest.mark.parametrize("sizes", [(2.5,), ("a",), (2, None), ((1.0, 2),)])
@pytest.mark.parametrize("make", [pynn.zeros, pynn.empty, pynn.randn])
def test_sizes_are_whole_numbers(make, sizes):
    with pytest.raises(TypeError, match="expected whole numbers as sizes, got"):
        make(*sizes)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickle(protocol):
    t = pynn.tensor(np.arange(6.0).reshape(2, 3)).T.clone().requires_grad_()
    (t * t).sum().backward()
    for other in (pickle.loads(pickle.dumps(t, protocol)), copy.deepcopy(t)):
        np.testing.assert_array_equal(other.detach().numpy(), t.detach().numpy())
        np.testing.assert_array_equal(other.grad.numpy(), t.grad.numpy())
        assert other.requires_grad
        assert other.stride() == t.stride()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(t * 2)


def test_setitem():
    t = pynn.zeros(2, 3)
    t[:, 1] = [5, 6]
    t[0] = 1
    assert t.tolist() == [[1, 1, 1], [0, 6, 0]]


def test_setitem_takes_numbers_in_the_tensors_dtype():
    t = pynn.zeros(2, dtype=pynn.float64)
    t[0] = 0.1
    t[1:] = [0.2]
    assert t.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("dtype", ["int16", "float16", ">f4"])
def test_other_dtypes_are_called_by_their_name(dtype):
    for call in (pynn.tensor, pynn.as_tensor):
        with pytest.raises(TypeError, match=f"expected float32, .* got dtype {dtype}"):
            call(np.ones(2, dtype))


def test_data_is_a_detached_tensor():
    t = pynn.tensor([1.0], requires_grad=True)
    assert isinstance(t.data, pynn.Tensor)
    assert not t.data.requires_grad
    t.data = pynn.tensor([4.0])
    assert t.item() == 4
    with pytest.raises(TypeError, match="expected float32, got int64"):
        t.data = pynn.tensor([4])


def test_methods_have_docstrings():
    names = [n for n in vars(pynn.Tensor) if not n.startswith("_") and n not in ("grad", "requires_grad", "data")]
    obvious = {"shape", "dtype", "ndim"}
    assert not [n for n in names if not getattr(pynn.Tensor, n).__doc__ and n not in obvious]
    assert pynn.Tensor.argmax.__doc__ == pynn.argmax.__doc__


@pytest.mark.parametrize("bad", ["a", 1.5, None])
def test_dimensions_are_whole_numbers(bad):
    t = pynn.ones(2, 3)
    for call in (
        lambda: t.sum((0, bad)),
        lambda: t.sum(bad or "b"),
        lambda: t.reshape(bad, 2),
        lambda: t.permute(bad, 0),
        lambda: t.transpose(bad, 1),
        lambda: t.flatten(bad),
        lambda: t.unsqueeze(bad),
    ):
        with pytest.raises(TypeError, match=r"expected (a )?whole numbers? as"):
            call()
    assert t.sum(np.int64(1)).tolist() == t.sum(np.int64(1), keepdim=True).squeeze(np.int64(1)).tolist() == [3, 3]
