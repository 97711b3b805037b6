"""Every op of the library as a function of tensors."""

from .activation import relu, sigmoid, tanh

__all__ = ["relu", "sigmoid", "tanh"]
