"""LeNets: convolutions, pooling, fully connected layers, for images of 28 x 28 grey pixels."""

from __future__ import annotations

from .. import nn
from .mlp import ACTIVATIONS
from .registry import register

POOLINGS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


@register
def lenet5(activation: str = "relu", pooling: str = "max", classes: int = 10) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) as it is taught: (N, 1, 28, 28) -> logits (N, classes), 61,706 parameters for ten.

    Convolutions of 5 x 5 to 6 and 16 channels, each followed by `activation` ("relu", "sigmoid" or "tanh") and 2 x 2
    pooling ("average" or "max"), then layers of 120, 84 and `classes`. The first convolution has a border of 2, so that
    28 x 28 pixels go where the paper has 32 x 32. The defaults reach 99 % on MNIST in ten epochs; "tanh" and "average"
    are nearer to the paper and end half a percent lower. ValueError for another activation or pooling.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"lenet5: expected one of {', '.join(ACTIVATIONS)} as activation, got {activation!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"lenet5: expected one of {', '.join(POOLINGS)} as pooling, got {pooling!r}")
    act, pool = ACTIVATIONS[activation], POOLINGS[pooling]
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        act(),
        pool(2),
        nn.Conv2d(6, 16, 5),
        act(),
        pool(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        act(),
        nn.Linear(120, 84),
        act(),
        nn.Linear(84, classes),
    )


@register
def lenet_tf(classes: int = 10, dropout: float = 0.5) -> nn.Sequential:
    """The wide LeNet of TensorFlow's first tutorials: (N, 1, 28, 28) -> logits (N, classes), 3,274,634 parameters.

    Convolutions of 5 x 5 to 32 and 64 channels that keep the size, ReLU and 2 x 2 max pooling after each, a layer of
    1024 with `dropout`, and one of `classes`. ValueError for a probability outside [0, 1].
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(1024, classes),
    )
