"""SGD and Adam: one step of one parameter. Each gives the new value and the new state."""

import numpy as np


def sgd(w, g, m, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    """m is None before the first step."""
    g = (-g if maximize else g) + weight_decay * w
    if momentum:
        m = g if m is None else momentum * m + (1 - dampening) * g
        g = g + momentum * m if nesterov else m
    return w - lr * g, m


def adam(w, g, m, v, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False, maximize=False):
    """t counts from 1."""
    g = -g if maximize else g
    if decoupled:
        w = w * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * w
    m = m + (1 - betas[0]) * (g - m)
    v = betas[1] * v + (1 - betas[1]) * g * g
    w = w - lr / (1 - betas[0] ** t) * m / (np.sqrt(v) / np.sqrt(1 - betas[1] ** t) + eps)
    return w, m, v
