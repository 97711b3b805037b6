"""Whole models, by name."""

from .lenet import lenet5, lenet_tf
from .mlp import ACTIVATIONS, mlp
from .perceptron import Perceptron
from .registry import get, names

__all__ = ["ACTIVATIONS", "Perceptron", "get", "lenet5", "lenet_tf", "mlp", "names"]
