"""Forward passes of whole models that were trained before, one sample and a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .networks import Network, lenet5, lenet_tf, mlp
from .row import Call, Row, normal, threads
from .timing import faster


class Forward(Row):
    """In evaluation mode, without a tape: `freeze` and no_grad, inference_mode, a session of ONNX Runtime."""

    family = "inference"

    def __init__(self, network: Network, samples: int, readme: bool = False) -> None:
        self.network, self.samples, self.readme = network, samples, readme
        self.name = f"{network.name}, batch {samples}"
        self.flops = network.flops(samples)

    def inputs(self):
        return normal(self.samples, *self.network.shape), self.network.weights()

    def pynn(self, x, weights) -> Call:
        import pynn

        model = self.network.pynn()
        model.load_state_dict(weights)
        model.freeze()
        x = pynn.tensor(x)

        def forward():
            with pynn.no_grad():
                return model(x)

        return forward

    def torch(self, x, weights) -> Call:
        """In the memory format that is faster."""
        import torch

        def in_format(memory_format) -> Call:
            model = self.network.torch().eval().requires_grad_(False)
            model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
            images = torch.tensor(x)
            if x.ndim == 4:
                model, images = model.to(memory_format=memory_format), images.contiguous(memory_format=memory_format)
            return lambda: model(images)

        return faster([in_format(torch.contiguous_format), in_format(torch.channels_last)])

    def onnxruntime(self, x, weights) -> Call:
        return Session(onnx_model(self.network, x.shape, weights), x)


class Session:
    """A run whose input and output are bound before: faster than `run`, which takes and gives arrays."""

    def __init__(self, model: bytes, x: np.ndarray) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input("x", x)
        self.binding.bind_output("y")

    def __call__(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def check(self) -> list[np.ndarray]:
        self()
        return self.binding.copy_outputs_to_cpu()


# ONNX's names of layers without weights. Dropout is left out: it does nothing after training.
PLAIN = {"ReLU": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Flatten": "Flatten"}
POOLS = {"AvgPool2d": "AveragePool", "MaxPool2d": "MaxPool"}


def onnx_model(network: Network, shape: tuple[int, ...], weights: dict[str, np.ndarray]) -> bytes:
    """An ONNX file's content: `x` of `shape` to `y`."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    last = "x"
    for i, (kind, *arguments) in enumerate(network.layers):
        if kind == "Dropout":
            continue
        inputs, output = [last], "y" if i == len(network.layers) - 1 else f"{i}.output"
        if kind in ("Conv2d", "Linear"):
            inputs += [f"{i}.weight", f"{i}.bias"]
        if kind == "Linear":
            node = helper.make_node("Gemm", inputs, [output], transB=1)
        elif kind == "Conv2d":
            _, _, kernel, stride, padding = arguments
            sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
            node = helper.make_node("Conv", inputs, [output], **sizes)
        elif kind in POOLS:
            node = helper.make_node(POOLS[kind], inputs, [output], kernel_shape=arguments * 2, strides=arguments * 2)
        else:
            node = helper.make_node(PLAIN[kind], inputs, [output])
        nodes.append(node)
        last = output
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape[0], network.layers[-1][2]))],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


ROWS = [
    Forward(mlp(784, 30, 10, activation="Sigmoid"), 1),
    Forward(mlp(784, 30, 10, activation="Sigmoid"), 64),
    Forward(lenet5("Tanh", "average"), 1, readme=True),
    Forward(lenet5("Tanh", "average"), 64),
    Forward(lenet_tf(), 1),
    Forward(lenet_tf(), 64),
]
