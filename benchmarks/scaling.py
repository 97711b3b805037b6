"""Forward and backward of small layers at several threads beside one: more threads must never be slower."""

from __future__ import annotations

from .row import Call, Row, normal


class Layer(Row):
    family = "scaling"
    scaling = True

    def __init__(self, width: int, batch: int) -> None:
        self.width, self.batch = width, batch
        self.name = f"linear {width}->{width}, batch {batch}, forward and backward"
        self.flops = 6.0 * batch * width * width
        self.tolerance = 0.0  # the same bits

    def inputs(self):
        return normal(self.batch, self.width), normal(self.batch, self.width, seed=1)

    def pynn(self, x, grad) -> Call:
        import pynn

        pynn.manual_seed(0)
        layer = pynn.nn.Linear(self.width, self.width)
        x, grad = pynn.tensor(x, requires_grad=True), pynn.tensor(grad)

        def step():
            layer.weight.grad = layer.bias.grad = x.grad = None
            layer(x).backward(grad)
            return x.grad, layer.weight.grad, layer.bias.grad

        return step


ROWS = [Layer(width, batch) for width in (32, 64, 128, 256, 512) for batch in (1, 32, 128)]
