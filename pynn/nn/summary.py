"""A model as a table of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..autograd import no_grad
from ..creation import zeros
from ..tensor import Tensor, float32
from .module import Module, mode
from .observe import observed


class Row(NamedTuple):
    """One call of a layer."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    parameter_bytes: int
    activation_bytes: int


class Summary:
    """What `summary` found: `rows`, and the totals under the names of their columns; its text is a table.

    Parameters of a layer that is called again, or of a shared weight, count once.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self.parameters = sum(row.parameters for row in rows)
        self.multiply_adds = sum(row.multiply_adds for row in rows)
        self.parameter_bytes = sum(row.parameter_bytes for row in rows)
        self.activation_bytes = sum(row.activation_bytes for row in rows)

    def __str__(self) -> str:
        head = ("layer", "type", "output shape", "parameters", "multiply-adds", "weight bytes", "output bytes")
        lines = [(row.name, row.kind, str(row.output_shape), *(f"{n:,}" for n in row[3:])) for row in self.rows]
        totals = (self.parameters, self.multiply_adds, self.parameter_bytes, self.activation_bytes)
        total = ("total", "", "", *(f"{n:,}" for n in totals))
        widths = [max(map(len, column)) for column in zip(head, *lines, total, strict=True)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

        def line(cells: Sequence[str]) -> str:
            return "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()

        return "\n".join([line(head), rule, *map(line, lines), rule, line(total)])

    __repr__ = __str__


def summary(model: Module, input_shape: Sequence[int]) -> Summary:
    """Output shape, parameters, multiply-adds and bytes of every layer, for one sample of `input_shape`.

    The model runs once on zeros (1, *input_shape) of its dtype, in evaluation mode and without gradients; modes and
    values stay as they were. Layers are the modules that hold no others, or parameters of their own, in the order of
    their calls. Multiply-adds are those of matrix products and convolutions: each weight once for every output position
    (every input position of a transposed convolution). Bytes are those of parameters and buffers, and of the output.

    Of a layer that gives several tensors, the first is shown; one that is not called is left out. ValueError for sizes
    that the model does not take.
    """
    rows: list[Row] = []
    counted: set[int] = set()

    def add(name: str, module: Module, inputs: tuple, output: Any) -> None:
        own = [t for t in vars(module).values() if isinstance(t, Tensor)]
        first = next((t for t in (output if isinstance(output, tuple) else (output,)) if isinstance(t, Tensor)), None)
        if first is None or (not own and next(module.children(), None) is not None):
            return
        new = [t for t in own if id(t) not in counted]
        counted.update(map(id, new))
        parameters = {id(p) for p in module.parameters(recurse=False)}
        rows.append(
            Row(
                name,
                type(module).__name__,
                first.shape,
                sum(t.numel() for t in new if id(t) in parameters),
                _multiply_adds(module, inputs[0] if inputs else first, first),
                sum(_bytes(t) for t in new),
                _bytes(first),
            )
        )

    dtype = next((p.dtype for p in model.parameters()), float32)
    with mode(model, training=False), no_grad(), observed(model, add):
        model(zeros(1, *input_shape, dtype=dtype))
    return Summary(rows)


def _multiply_adds(module: Module, input: Any, output: Tensor) -> int:
    weights = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
    if not weights:
        return 0
    transposed = getattr(module, "transposed", False)
    at = input if transposed else output
    channels = at.shape[1] if weights[0].ndim > 2 else at.shape[-1]
    positions = at.numel() // max(channels, 1)
    return positions * sum(weight.numel() for weight in weights)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.dtype.itemsize
