"""Whole models, by name."""

from .lenet import POOLINGS, lenet5, lenet_tf
from .mlp import ACTIVATIONS, mlp
from .perceptron import Perceptron
from .registry import get, names

__all__ = ["ACTIVATIONS", "POOLINGS", "Perceptron", "get", "lenet5", "lenet_tf", "mlp", "names"]
