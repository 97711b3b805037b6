"""Training: the loop, its history, its progress, callbacks and checkpoints."""

from .callbacks import Callback, EarlyStopping, Schedule
from .checkpoint import Checkpoint
from .history import History
from .loggers import CSVLogger, JSONLogger
from .trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "JSONLogger",
    "Schedule",
    "Trainer",
]
