"""Data sets of images: bundled, found on this machine, or downloaded."""

from .dataset import Dataset
from .digits import digits
from .idx import read_idx
from .mnist_files import fashion_mnist, mnist

__all__ = ["Dataset", "digits", "fashion_mnist", "mnist", "read_idx"]
