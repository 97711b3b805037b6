"""Training: the loop, its history, its progress."""

from .history import History
from .trainer import Trainer

__all__ = ["History", "Trainer"]
