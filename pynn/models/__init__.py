"""Whole models, by name."""

from .mlp import ACTIVATIONS, mlp
from .perceptron import Perceptron
from .registry import get, names

__all__ = ["ACTIVATIONS", "Perceptron", "get", "mlp", "names"]
