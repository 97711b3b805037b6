"""Files: weights, and writing without half-written results."""

from .files import replacing
from .weights import load_weights, save_weights

__all__ = ["load_weights", "replacing", "save_weights"]
