"""An op with a gradient of one's own, checked against differences and used in a layer.

SiLU, x * sigmoid(x) (Elfwing et al. 2018), as an `autograd.Function`. Its backward pass needs the input alone; written
with the library's ops, the tape would keep sigmoid(x) as well. `gradcheck` compares it with central differences in
float64, and finds the slip in a second version. Takes a second.
"""

from typing import Any

import numpy as np

import pynn
from pynn import Tensor, nn
from pynn.autograd import Function, gradcheck
from pynn.nn import functional as F


class SiLUFunction(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * (s + x * s * (1 - s))


class Slip(SiLUFunction):
    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.sigmoid()  # the product rule has two terms


class SiLU(nn.Module):
    def forward(self, input: Any) -> Tensor:
        return SiLUFunction.apply(pynn.as_tensor(input))


def main() -> None:
    x = pynn.tensor(np.linspace(-6, 6, 50), requires_grad=True)
    assert gradcheck(SiLUFunction.apply, x)
    assert not gradcheck(Slip.apply, x, raise_exception=False)
    print("gradcheck passes the right gradient and finds the wrong one")

    pynn.manual_seed(0)
    inputs = np.linspace(-3, 3, 256, dtype=np.float32)[:, None]
    targets = np.sin(2 * inputs)
    model = nn.Sequential(nn.Linear(1, 32), SiLU(), nn.Linear(32, 32), SiLU(), nn.Linear(32, 1))
    optimizer = pynn.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(501):
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:3d}: mean squared error {loss.item():.5f}")
    assert loss.item() <= 1e-2


if __name__ == "__main__":
    main()
