"""Losses.

Every one takes `reduction`: 'mean', 'sum' or 'none' (one loss per sample or element); another value is a ValueError.
Floating-point arguments are float32 or float64, all of one dtype (TypeError otherwise). A mean over nothing is NaN.
"""

from __future__ import annotations

from typing import Any

from .. import _core
from ..autograd import is_grad_enabled
from ..tensor import Tensor, as_tensor


def _fixed(op: str, argument: str, value: Any) -> Any:
    """The array of an argument that the op gives no gradient to; an error rather than a gradient that is missing."""
    if value is None:
        return None
    t = as_tensor(value)
    if t.requires_grad and is_grad_enabled():
        raise NotImplementedError(f"{op}: {argument} requires grad, but has no gradient here; detach() it")
    return t._array


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross-entropy of logits, -log softmax(input)[target].

    input: (C,), (N, C) or (N, C, d…). target: class indices (int64, int32, uint8) of that shape without C, where
    `ignore_index` takes no part, or probabilities of the input's shape and dtype. weight: (C,), a weight per class.
    label_smoothing: that much of the target is spread evenly over the classes (Szegedy et al. 2016).

    The mean divides by the summed weights of the targets that take part; for probabilities, by the number of samples.
    IndexError for an index outside [0, C); ValueError for shapes that do not fit.
    """
    x = as_tensor(input)
    t = _fixed("cross_entropy", "target", target)
    w = _fixed("cross_entropy", "weight", weight)
    save = x.requires_grad and is_grad_enabled()
    loss, probabilities, divisor = _core.cross_entropy(x._array, t, w, ignore_index, reduction, label_smoothing, save)

    def backward(grad: Any) -> tuple:
        return (
            _core.cross_entropy_backward(grad, probabilities, divisor, t, w, ignore_index, reduction, label_smoothing),
        )

    return _core.record("cross_entropy", loss, (x,), backward, (t, w))


def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood, -input[target], of log-probabilities (C,), (N, C) or (N, C, d…) at class indices.

    Arguments, mean and errors as for `cross_entropy`, which is this of `log_softmax`.
    """
    x = as_tensor(input)
    t = _fixed("nll_loss", "target", target)
    w = _fixed("nll_loss", "weight", weight)
    loss, divisor = _core.nll_loss(x._array, t, w, ignore_index, reduction)
    shape = x.shape

    def backward(grad: Any) -> tuple:
        return (_core.nll_loss_backward(grad, shape, divisor, t, w, ignore_index, reduction),)

    return _core.record("nll_loss", loss, (x,), backward, (t, w))


def _binary(op: str, input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Tensor:
    x = as_tensor(input)
    a, t, w, p = (
        x._array,
        _fixed(op, "target", target),
        _fixed(op, "weight", weight),
        _fixed(op, "pos_weight", pos_weight),
    )
    loss = _core.element_loss(op, a, t, w, p, reduction)

    def backward(grad: Any) -> tuple:
        return (_core.element_loss_backward(op, grad, a, t, w, p, reduction),)

    return _core.record(op, loss, (x,), backward, (a, t, w, p))


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of sigmoid(input) with targets in [0, 1], from the logits, so that nothing overflows.

    target: the input's shape. weight and pos_weight: broadcast to it; pos_weight multiplies the loss of the positive
    part of a target. ValueError for shapes that do not fit.
    """
    return _binary("binary_cross_entropy_with_logits", input, target, weight, pos_weight, reduction)


def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) of probabilities x and targets t in [0, 1], of one shape.

    Logarithms are at least -100, as in PyTorch, so that the loss of a certain and wrong x is finite; an input outside
    [0, 1] gives NaN. weight: broadcast to the input's shape. ValueError for shapes that do not fit.
    """
    return _binary("binary_cross_entropy", input, target, weight, None, reduction)


def _difference(op: str, input: Any, target: Any, reduction: str) -> Tensor:
    x, t = as_tensor(input), as_tensor(target)
    a, b = x._array, t._array
    loss = _core.element_loss(op, a, b, None, None, reduction)
    wanted = x.requires_grad, t.requires_grad

    def backward(grad: Any) -> tuple:
        # The losses are symmetric, so the gradient of the target is that of the input with the two exchanged.
        return (
            _core.element_loss_backward(op, grad, a, b, None, None, reduction) if wanted[0] else None,
            _core.element_loss_backward(op, grad, b, a, None, None, reduction) if wanted[1] else None,
        )

    return _core.record(op, loss, (x, t), backward, (a, b))


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)², with gradients for both.

    Shapes have to be equal, ValueError otherwise. (PyTorch warns and broadcasts: outputs (N, 1) with targets (N,) train
    on all N² pairs. Here one says `target.unsqueeze(1)`, or `expand`.)
    """
    return _difference("mse_loss", input, target, reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|, with gradients for both, 0 where they are equal. Shapes as for `mse_loss`."""
    return _difference("l1_loss", input, target, reduction)


def half_sse_loss(input: Any, target: Any, reduction: str = "sum") -> Tensor:
    """½ (input - target)², summed by default; shapes as for `mse_loss`.

    'mean' is the mean over samples: the sum divided by the size of the first axis (not by the number of elements).
    """
    return _difference("half_sse_loss", input, target, reduction)
