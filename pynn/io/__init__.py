"""Files: weights, and writing without half-written results."""

from .files import replacing
from .weights import save_weights

__all__ = ["replacing", "save_weights"]
