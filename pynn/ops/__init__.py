"""Every op of the library as a function of tensors."""

from .activation import relu, sigmoid, step, tanh
from .gather import gather_rows
from .views import cast, clone, contiguous, expand, flatten, index, permute, reshape, squeeze, transpose, unsqueeze

__all__ = [
    "cast",
    "clone",
    "contiguous",
    "expand",
    "flatten",
    "gather_rows",
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
