"""A small program that mypy checks under --strict; test_stubs.py."""

import numpy as np

import pynn
from pynn import nn, optim

model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

x: pynn.Tensor = pynn.tensor(np.zeros((2, 4), np.float32))
target = pynn.tensor([0, 2])
for _ in range(3):
    optimizer.zero_grad()
    loss: pynn.Tensor = nn.functional.cross_entropy(model(x), target)
    loss.backward()
    optimizer.step()

with pynn.no_grad():
    probabilities: np.ndarray = pynn.softmax(model(x), 1).numpy()
rows: int = probabilities.shape[0]
state: dict[str, np.ndarray] = model.state_dict()

pynn.save(model, "model.safetensors")
prediction: np.ndarray = pynn.load("model.safetensors").predict(np.zeros((2, 4)))
parameters: int = nn.summary(model, (4,)).parameters
