"""pynn: neural networks that train and run fast on an ordinary CPU."""

from . import autograd, ops
from ._core import CaptureError
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .ops import relu, sigmoid, tanh
from .runtime import get_num_threads, set_num_threads, threads
from .tensor import Tensor, as_tensor, bool_, float32, float64, int32, int64, tensor, uint8

__version__ = "0.1.0"
