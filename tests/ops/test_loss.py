import numpy as np
import pytest

import pynn
from opcase import THREADS, OpCase, isa, same_bits, suite
from pynn import _core, ops
from pynn.reference import loss as reference

REDUCTIONS = ("mean", "sum", "none")


def labels(*extra, classes=10, dtype=np.int64):
    """Logits (n, classes, *extra) and class indices; several cases ignore class 2."""

    def draw(rng, n):
        x = rng.standard_normal((n, classes, *extra)) * 3
        t = rng.integers(0, classes, (n, *extra)).astype(dtype)
        t.reshape(-1)[:1] = 1  # so that one takes part
        return x, t

    return draw


def weighted_labels(rng, n):
    return (*labels()(rng, n), rng.random(10) + 0.1)


def probabilities(*extra, classes=10):
    def draw(rng, n):
        t = rng.random((n, classes, *extra))
        return rng.standard_normal((n, classes, *extra)) * 3, t / t.sum(1, keepdims=True)

    return draw


def weighted_probabilities(rng, n):
    return (*probabilities()(rng, n), rng.random(10) + 0.1)


def log_probabilities(rng, n):
    x, t = labels()(rng, n)
    return -np.abs(x), t


def pairs(rng, n):
    return rng.standard_normal((n, 37)), rng.standard_normal((n, 37))


def logit_pairs(rng, n):
    return rng.standard_normal((n, 37)) * 5, rng.random((n, 37))


def certainties(rng, n):
    return rng.uniform(0.01, 0.99, (n, 37)), rng.random((n, 37))


def weighted_certainties(rng, n):
    return (*certainties(rng, n), rng.random((n, 37)))


def doubly_weighted(rng, n):
    return (*logit_pairs(rng, n), rng.random((n, 1)), rng.random(37) + 0.5)


def cases(name, inputs, label="", **options):
    """One case per reduction, within 8 eps of max(1, loss): exp, log and the sum of the classes, about 2 each."""
    for reduction in REDUCTIONS:
        yield OpCase(
            f"{name}{label}-{reduction}",
            getattr(ops, name),
            getattr(reference, name),
            inputs,
            {"reduction": reduction, **options.get("kwargs", {})},
            tolerance=options.get("tolerance", 8),
            differentiable=options.get("differentiable", (0,)),
            by_row=False,
            sizes=(1, 3, 15, 16, 17, 33, 100),
        )


CASES = [
    *cases("cross_entropy", labels()),
    *cases("cross_entropy", labels(classes=3, dtype=np.uint8), "-3-uint8"),
    *cases("cross_entropy", labels(classes=70, dtype=np.int32), "-70-int32"),
    *cases("cross_entropy", labels(4, 3), "-images"),
    *cases("cross_entropy", weighted_labels, "-weight", kwargs={"ignore_index": 2}),
    *cases("cross_entropy", weighted_labels, "-smooth", kwargs={"ignore_index": 2, "label_smoothing": 0.1}),
    *cases("cross_entropy", labels(classes=70), "-smooth-70", kwargs={"label_smoothing": 0.1}),
    *cases("cross_entropy", probabilities(), "-probabilities"),
    *cases("cross_entropy", probabilities(5, classes=20), "-probabilities-images"),
    *cases("cross_entropy", weighted_probabilities, "-probabilities-weight", kwargs={"label_smoothing": 0.2}),
    *cases("nll_loss", log_probabilities, kwargs={"ignore_index": 2}),
    *cases("nll_loss", labels(6), "-images"),
    *cases("nll_loss", weighted_labels, "-weight"),
    *cases("binary_cross_entropy", certainties),
    *cases("binary_cross_entropy", weighted_certainties, "-weight"),
    *cases("binary_cross_entropy_with_logits", logit_pairs),
    *cases("binary_cross_entropy_with_logits", doubly_weighted, "-weights"),
    *cases("mse_loss", pairs, differentiable=(0, 1)),
    *cases("l1_loss", pairs, differentiable=(0, 1)),
    *cases("half_sse_loss", pairs, differentiable=(0, 1)),
]

test_op = suite(CASES)


def gradient(op, x, *args, **kwargs):
    t = pynn.tensor(x, requires_grad=True)
    loss = op(t, *args, **kwargs)
    loss.backward(None if loss.shape == () else pynn.ones(*loss.shape, dtype=loss.dtype))
    return t.grad.numpy()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_in_float32(case):
    """The float32 gradient beside the float64 one, which gradcheck has checked; and its bits on avx2 and avx512."""
    arrays = case.arrays(33)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    expected = gradient(case.op, *wide, **case.kwargs)
    seen = {}
    for name in _core.supported_isas():
        with isa(name):
            got = seen[name] = gradient(case.op, *arrays, **case.kwargs)
        assert np.abs(got - expected).max() <= 8e-7 * max(1, np.abs(expected).max())
    if {"avx2", "avx512"} <= set(seen):
        assert same_bits(seen["avx2"], seen["avx512"])


@pytest.mark.parametrize("classes", [10, 40])
def test_rows_of_a_cross_entropy_do_not_depend_on_the_batch(classes):
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((50, classes), np.float32), rng.integers(0, classes, 50)
    whole = ops.cross_entropy(x, t, reduction="none").numpy()
    for i in range(50):
        assert same_bits(ops.cross_entropy(x[i : i + 1], t[i : i + 1], reduction="none").numpy(), whole[i : i + 1])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_sample_without_a_batch_axis(reduction):
    x = np.array([1.0, 2, 3], np.float32)
    expected = reference.cross_entropy(x.astype(np.float64), np.array(1), reduction=reduction)
    loss = ops.cross_entropy(x, np.array(1), reduction=reduction)
    assert loss.shape == () and abs(loss.item() - expected) <= 1e-6
    assert gradient(ops.cross_entropy, x, np.array(1)).shape == (3,)
    assert ops.nll_loss(x, np.array(1)).item() == -2


@pytest.mark.parametrize("classes", [4, 30])
def test_cross_entropy_of_extreme_logits(classes):
    x = np.zeros((7, classes), np.float32)
    x[0, :2] = [1000, -1000]
    x[1, :2] = [1000, -1000]
    x[2] = -1000
    x[3, 1] = np.nan
    x[4] = -np.inf
    x[5, 0] = np.inf
    x[6, 0] = -np.inf
    t = np.array([0, 1, 0, 0, 0, 0, 0])
    loss = ops.cross_entropy(x, t, reduction="none").numpy()
    np.testing.assert_allclose(loss[:3], [0, 2000, np.log(classes)], rtol=1e-6)
    assert np.isnan(loss[3:6]).all()
    assert loss[6] == np.inf
    assert np.isnan(ops.cross_entropy(x, t).item())
    assert np.isnan(gradient(ops.cross_entropy, x, t)[3:6]).all()


@pytest.mark.parametrize("op", [ops.cross_entropy, ops.nll_loss])
def test_ignored_rows(op):
    x, t = np.ones((3, 4), np.float32), np.full(3, -100)
    assert np.isnan(op(x, t).item())
    assert op(x, t, reduction="sum").item() == 0
    np.testing.assert_array_equal(gradient(op, x, t), np.zeros((3, 4)))
    t[1] = 3
    assert op(x, t).item() == op(x[1:2], t[1:2]).item()
    assert (gradient(op, x, t)[[0, 2]] == 0).all()
    t[:] = 7, 3, 7  # beyond the classes, but the index to ignore
    assert op(x, t, ignore_index=7).item() == op(x[1:2], t[1:2]).item()


@pytest.mark.parametrize("op", [ops.cross_entropy, ops.nll_loss])
@pytest.mark.parametrize("index", [-1, 4, 2**62, -(2**62)])
def test_an_index_out_of_range_is_an_index_error(op, index):
    x, t = np.ones((300, 4), np.float32), np.full(300, 3)
    t[17] = -100
    t[200] = index
    name = op.__name__
    with pytest.raises(
        IndexError, match=rf"{name}: expected class indices in \[0, 4\) or ignore_index \(-100\), got {index}$"
    ):
        op(x, t)
    leaf = pynn.tensor(x, requires_grad=True)
    target = pynn.tensor(np.full(300, 3))
    loss = op(leaf, target)
    np.asarray(target)[5] = index  # not seen by the version counter
    with pytest.raises(IndexError, match=f"{name}_backward: expected class indices"):
        loss.backward()
    assert leaf.grad is None


@pytest.mark.parametrize("op", [ops.cross_entropy, ops.nll_loss])
def test_empty_batch(op):
    x, t = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    assert np.isnan(op(x, t).item())
    assert op(x, t, reduction="sum").item() == 0
    assert op(x, t, reduction="none").shape == (0,)
    assert gradient(op, x, t).shape == (0, 4)
    with pytest.raises(IndexError):
        op(np.zeros((2, 0), np.float32), np.zeros(2, np.int64))


@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "half_sse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"]
)
def test_empty_elements(name):
    op, x = getattr(ops, name), np.zeros((0, 4), np.float32)
    assert np.isnan(op(x, x, reduction="mean").item())
    assert op(x, x, reduction="sum").item() == 0
    assert op(x, x, reduction="none").shape == (0, 4)
    nan = np.full((1, 4), np.nan, np.float32)
    assert np.isnan(op(nan, np.ones_like(nan), reduction="sum").item())
    assert np.isnan(op(np.ones_like(nan), nan, reduction="sum").item())
    assert np.isnan(gradient(op, nan, np.ones_like(nan))).all()


def test_binary_cross_entropy_at_its_bounds():
    x, t = np.array([0, 0, 1, 1, 0.25], np.float32), np.array([0, 1, 0, 1, 0.5], np.float32)
    loss = ops.binary_cross_entropy(x, t, reduction="none").numpy()
    np.testing.assert_allclose(loss, [0, 100, 100, 0, -0.5 * (np.log(0.25) + np.log(0.75))], rtol=1e-6)
    np.testing.assert_allclose(
        gradient(ops.binary_cross_entropy, x, t, reduction="none"), [0, -1e12, 1e12, 0, -0.25 / 0.1875], rtol=1e-6
    )
    assert np.isnan(ops.binary_cross_entropy(np.float32([-0.1, 1.1]), t[:2], reduction="none").numpy()).all()


def test_binary_cross_entropy_with_extreme_logits():
    x = np.array([1000, 1000, -1000, -1000, 0], np.float32)
    t = np.array([1, 0, 1, 0, 0.5], np.float32)
    loss = ops.binary_cross_entropy_with_logits(x, t, reduction="none").numpy()
    np.testing.assert_allclose(loss, [0, 1000, 1000, 0, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(
        gradient(ops.binary_cross_entropy_with_logits, x, t, reduction="none"), [0, 1, -1, 0, 0], atol=1e-7
    )


def test_small_losses_keep_their_digits():
    x = np.linspace(5, 80, 200, dtype=np.float32)
    loss = ops.binary_cross_entropy_with_logits(x, np.ones_like(x), reduction="none").numpy()
    np.testing.assert_allclose(loss, np.log1p(np.exp(-x.astype(np.float64))), rtol=5e-7)
    p = np.geomspace(1e-30, 0.5, 200).astype(np.float32)
    loss = ops.binary_cross_entropy(p, np.zeros_like(p), reduction="none").numpy()
    np.testing.assert_allclose(loss, -np.log1p(-p.astype(np.float64)), rtol=3e-7)


def test_a_large_sum_is_exact_to_six_digits():
    x = np.full(10**7, 0.1, np.float32)
    assert abs(ops.l1_loss(x, np.zeros_like(x), reduction="sum").item() / 1e6 - 1) <= 1e-6


def test_seed_b2_half_sse_of_the_worked_network():
    out = pynn.tensor(np.array([[0.751365, 0.772928]]), requires_grad=True)
    target = np.array([[0.01, 0.99]])
    parts = ops.half_sse_loss(out, target, reduction="none").detach().numpy()[0]
    assert abs(parts[0] - 0.274811) <= 5e-7
    assert abs(parts[1] - 0.02356) <= 5e-6
    loss = ops.half_sse_loss(out, target)
    assert abs(loss.item() - 0.2983) <= 1e-4  # the deck cuts 0.29837 off
    loss.backward()
    # ∂E/∂w5 = (out - target) · out(1 - out) · out_h1
    slope = out.grad.numpy()[0, 0] * 0.751365 * (1 - 0.751365)
    assert abs(slope * 0.5932699 - 0.082167041) <= 1e-6


def test_seed_b4_losses_agree_with_their_definitions():
    rng = np.random.default_rng(4)
    x, t = rng.standard_normal((6, 5)), rng.random((6, 5))
    assert ops.half_sse_loss(x, t, reduction="mean").item() == pytest.approx(((x - t) ** 2).sum() / 2 / 6, rel=1e-13)
    sigmoid = 1 / (1 + np.exp(-x))
    logits, certain = ops.binary_cross_entropy_with_logits(x, t), ops.binary_cross_entropy(sigmoid, t)
    assert logits.item() == pytest.approx(certain.item(), rel=1e-13)
    label = rng.integers(0, 5, 6)
    one_hot = np.eye(5)[label]
    by_index, by_probability = ops.cross_entropy(x, label), ops.cross_entropy(x, one_hot)
    assert by_index.item() == pytest.approx(by_probability.item(), rel=1e-13)
    assert by_index.item() == pytest.approx(ops.nll_loss(ops.log_softmax(x, 1), label).item(), rel=1e-13)


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    for case in CASES:
        arrays = [a.copy() for a in case.arrays(17, np.float64)]
        names = ("input", "target", "weight", "pos_weight")
        ours = [pynn.tensor(a, requires_grad=i == 0) for i, a in enumerate(arrays)]
        theirs = [torch.from_numpy(a) for a in arrays]
        theirs[0].requires_grad_()
        theirs[1] = theirs[1] if theirs[1].is_floating_point() else theirs[1].long()
        if not hasattr(functional, case.op.__name__):
            continue
        a = case.op(**dict(zip(names, ours, strict=False)), **case.kwargs)
        b = getattr(functional, case.op.__name__)(**dict(zip(names, theirs, strict=False)), **case.kwargs)
        grad = np.random.default_rng(0).standard_normal(a.shape)
        a.backward(pynn.tensor(grad))
        b.backward(torch.from_numpy(grad))
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-14, err_msg=case.name)
        np.testing.assert_allclose(
            ours[0].grad.numpy(), theirs[0].grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=case.name
        )


X, LABELS = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("op", "args", "kwargs", "error", "message"),
    [
        (
            ops.cross_entropy,
            (X, LABELS),
            {"reduction": "max"},
            ValueError,
            "'mean', 'sum' or 'none' as reduction, got 'max'",
        ),
        (
            ops.cross_entropy,
            (X, LABELS),
            {"label_smoothing": 1.5},
            ValueError,
            "label_smoothing between 0 and 1, got 1.5",
        ),
        (ops.cross_entropy, (X, LABELS), {"label_smoothing": np.nan}, ValueError, "label_smoothing between 0 and 1"),
        (ops.cross_entropy, (X, LABELS[:3]), {}, ValueError, r"class indices of shape \(4,\), got \(3,\)"),
        (ops.cross_entropy, (X, LABELS[:, None]), {}, ValueError, r"class indices of shape \(4,\), got \(4, 1\)"),
        (ops.cross_entropy, (X, X[:3]), {}, ValueError, "equal shapes for input and target probabilities"),
        (ops.cross_entropy, (X, X.astype(np.float64)), {}, TypeError, "float32 and float64"),
        (ops.cross_entropy, (X, LABELS > 0), {}, TypeError, "got bool"),
        (ops.cross_entropy, (LABELS, LABELS), {}, TypeError, "float32 or float64 for input, got int64"),
        (ops.cross_entropy, (np.float32(1), np.int64(0)), {}, ValueError, "input of shape"),
        (ops.cross_entropy, (X, LABELS), {"weight": X[0, :2]}, ValueError, r"weight of shape \(3,\), got \(2,\)"),
        (ops.cross_entropy, (X, LABELS), {"weight": np.ones(3)}, TypeError, "input and weight"),
        (ops.nll_loss, (X, X), {}, TypeError, "class indices .* as target, got float32"),
        (ops.mse_loss, (X, X[0]), {}, ValueError, "mse_loss: expected equal shapes for input and target"),
        (ops.mse_loss, (X, X.astype(np.float64)), {}, TypeError, "mse_loss: expected one dtype for input and target"),
        (ops.l1_loss, (LABELS, LABELS), {}, TypeError, "l1_loss: expected float32 or float64"),
        (ops.binary_cross_entropy, (X, X, X[:2]), {}, ValueError, "broadcasts to .* for weight, got"),
        (ops.binary_cross_entropy_with_logits, (X, X, None, np.ones(3)), {}, TypeError, "pos_weight"),
    ],
)
def test_errors(op, args, kwargs, error, message):
    with pytest.raises(error, match=message):
        op(*args, **kwargs)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits"])
def test_targets_without_a_gradient_may_not_require_one(name):
    x, t = pynn.tensor(X, requires_grad=True), pynn.tensor(X, requires_grad=True)
    with pytest.raises(NotImplementedError, match=f"{name}: target requires grad"):
        getattr(ops, name)(x, t)
    with pynn.no_grad():
        getattr(ops, name)(x, t)


def test_the_same_bits_whatever_the_layout_of_a_target():
    rng = np.random.default_rng(3)
    x, t = rng.standard_normal((8, 5, 6), np.float32), rng.integers(0, 5, (8, 6))
    channels_last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    expected = ops.cross_entropy(x, t).numpy()
    assert same_bits(ops.cross_entropy(np.moveaxis(channels_last, -1, 1), np.asfortranarray(t)).numpy(), expected)


def test_large_losses_have_the_same_bits_at_any_thread_count():
    rng = np.random.default_rng(6)
    x, t, label = (
        rng.standard_normal((40000, 25), np.float32),
        rng.random((40000, 25), np.float32),
        rng.integers(0, 25, 40000),
    )
    seen = []
    for threads in THREADS:
        with pynn.threads(threads):
            seen.append([ops.log_softmax(x, 1).numpy(), ops.cross_entropy(x, label).numpy()])
            seen[-1].append(gradient(ops.cross_entropy, x, label))
            for op in (ops.mse_loss, ops.binary_cross_entropy_with_logits):
                seen[-1] += [op(x, t).numpy(), gradient(op, x, t)]
    for other in seen[1:]:
        assert all(same_bits(a, b) for a, b in zip(seen[0], other, strict=True))
