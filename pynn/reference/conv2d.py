"""Two-dimensional cross-correlation, and its gradients."""

import numpy as np

from . import activation as activations


def _windows(size, kernel, stride, dilation):
    """Of one axis: the start of every window, and how far each tap lies from it."""
    return range(0, size - dilation * (kernel - 1), stride), [i * dilation for i in range(kernel)]


def conv2d(x, weight, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, activation="none"):
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    rows, down = _windows(x.shape[2], weight.shape[2], stride[0], dilation[0])
    columns, across = _windows(x.shape[3], weight.shape[3], stride[1], dilation[1])
    c, o = weight.shape[1], weight.shape[0] // groups
    y = np.zeros((len(x), weight.shape[0], len(rows), len(columns)), x.dtype)
    for i, p in enumerate(rows):
        for j, q in enumerate(columns):
            patch = x[:, :, [[p + d] for d in down], [q + a for a in across]]
            for g in range(groups):
                own = slice(g * o, g * o + o)
                y[:, own, i, j] = np.tensordot(patch[:, g * c : g * c + c], weight[own], ((1, 2, 3), (1, 2, 3)))
    if bias is not None:
        y = y + bias[:, None, None]
    return y if activation == "none" else getattr(activations, activation)(y)
