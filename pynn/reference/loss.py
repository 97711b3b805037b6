"""The losses. `reduction` is 'mean', 'sum' or 'none' everywhere."""

import numpy as np

from .softmax import log_softmax


def reduce(losses, reduction, count=None):
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if count is None else count)


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    class_axis = min(1, input.ndim - 1)
    log_p = np.moveaxis(log_softmax(input, class_axis), class_axis, -1)
    classes = log_p.shape[-1]
    w = np.ones(classes) if weight is None else weight
    smooth = label_smoothing / classes
    if target.dtype.kind == "f":
        target = np.moveaxis(target, class_axis, -1)
        losses = -(w * ((1 - label_smoothing) * target + smooth) * log_p).sum(-1)
        return reduce(losses, reduction)
    kept = target != ignore_index
    label = np.where(kept, target, 0).astype(np.int64)
    row_weight = np.where(kept, w[label], 0)
    nll = -row_weight * np.take_along_axis(log_p, label[..., None], -1)[..., 0]
    spread = 0 if smooth == 0 else np.where(kept, -(smooth * w * log_p).sum(-1), 0)
    return reduce((1 - label_smoothing) * nll + spread, reduction, row_weight.sum())


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    log_p = np.moveaxis(input, min(1, input.ndim - 1), -1)
    w = np.ones(log_p.shape[-1]) if weight is None else weight
    kept = target != ignore_index
    label = np.where(kept, target, 0).astype(np.int64)
    row_weight = np.where(kept, w[label], 0)
    nll = -row_weight * np.take_along_axis(log_p, label[..., None], -1)[..., 0]
    return reduce(nll, reduction, row_weight.sum())


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    log_x, log_1_x = np.maximum(np.log(input), -100), np.maximum(np.log1p(-input), -100)
    return reduce(-(1 if weight is None else weight) * (target * log_x + (1 - target) * log_1_x), reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, reduction="mean"):
    softplus = np.log1p(np.exp(-np.abs(input))) + np.maximum(-input, 0)
    positive = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    return reduce((1 if weight is None else weight) * ((1 - target) * input + positive * softplus), reduction)


def mse_loss(input, target, reduction="mean"):
    return reduce((input - target) ** 2, reduction)


def l1_loss(input, target, reduction="mean"):
    return reduce(np.abs(input - target), reduction)


def half_sse_loss(input, target, reduction="sum"):
    return reduce((input - target) ** 2 / 2, reduction, len(input) if input.ndim else 1)
