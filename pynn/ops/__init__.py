"""Every op of the library as a function of tensors."""

from .activation import relu, sigmoid, step, tanh
from .views import cast, clone, contiguous, expand, flatten, index, permute, reshape, squeeze, transpose, unsqueeze

__all__ = [
    "cast",
    "clone",
    "contiguous",
    "expand",
    "flatten",
    "index",
    "permute",
    "relu",
    "reshape",
    "sigmoid",
    "squeeze",
    "step",
    "tanh",
    "transpose",
    "unsqueeze",
]
