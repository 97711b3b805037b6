"""Files: weights, checkpoints, and writing without half-written results."""

from .checkpoint import load_checkpoint, save_checkpoint
from .files import replacing
from .weights import load_weights, save_weights

__all__ = ["load_checkpoint", "load_weights", "replacing", "save_checkpoint", "save_weights"]
