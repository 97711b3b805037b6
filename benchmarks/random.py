"""Random numbers. Generators differ, so only the mean and the deviation are compared."""

from __future__ import annotations

import numpy as np

from .row import Call, Row


class Draw(Row):
    family = "random"

    def __init__(self, kind: str, count: int) -> None:
        self.kind, self.count = kind, count
        self.name = f"{kind} {count}"
        self.readme = count == 1 << 20

    def agree(self, ours, theirs) -> str:
        # the mean of n draws has a deviation of at most 1/sqrt(n); 6 of them
        limit = 6 * np.sqrt(2 / self.count)
        for statistic in (np.mean, np.std):
            error = abs(statistic(ours[0]) - statistic(theirs[0]))
            if not error <= limit:
                return f"{statistic.__name__} differs by {error:.2g}, allowed {limit:.2g}"
        return ""

    def pynn(self) -> Call:
        import pynn

        function = pynn.rand if self.kind == "uniform" else pynn.randn
        return lambda: function(self.count)

    def numpy(self) -> Call:
        generator = np.random.default_rng(0)
        out = np.empty(self.count, np.float32)
        if self.kind == "uniform":
            return lambda: generator.random(out=out, dtype=np.float32)
        return lambda: generator.standard_normal(out=out, dtype=np.float32)

    def torch(self) -> Call:
        import torch

        out = torch.empty(self.count)
        return out.uniform_ if self.kind == "uniform" else out.normal_


ROWS = [Draw(kind, count) for kind in ("uniform", "normal") for count in (1 << 10, 1 << 20)]
