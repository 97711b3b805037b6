"""Every op of the library as a function of tensors."""

from .activation import relu, sigmoid, step, tanh
from .loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    half_sse_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)
from .softmax import log_softmax, softmax
from .views import (
    cast,
    clone,
    contiguous,
    expand,
    flatten,
    index,
    permute,
    reshape,
    squeeze,
    transpose,
    unsqueeze,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cast",
    "clone",
    "contiguous",
    "cross_entropy",
    "expand",
    "flatten",
    "half_sse_loss",
    "index",
    "l1_loss",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "permute",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "squeeze",
    "step",
    "tanh",
    "transpose",
    "unsqueeze",
]
