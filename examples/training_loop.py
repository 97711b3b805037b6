"""The plain training loop on the bundled digits, and its promise: the same bits at any number of threads.

A small convolutional network learns 1500 images of 8 x 8 pixels with Adam, a cosine schedule and clipped gradients. It
is trained twice, on one thread and on two; the weights are equal to the last bit. Takes a few seconds.
"""

import time

import pynn
from pynn import nn
from pynn.nn import functional as F

EPOCHS, BATCH = 15, 64


def build() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),  # in one kernel with the convolution
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 10),
    )


def accuracy(model: nn.Module, batches: pynn.data.Loader) -> float:
    model.eval()
    with pynn.no_grad():
        correct = sum(int((model(x).argmax(1) == y).sum().item()) for x, y in batches)
    model.train()
    return correct / batches.samples


def train(data: pynn.datasets.Dataset) -> tuple[nn.Module, float]:
    pynn.manual_seed(0)  # initial weights and dropout; the order of the samples has the loader's own seed
    batches = pynn.data.Loader(data.train_images[:, None], data.train_labels, BATCH, scale=data.scale, seed=0)
    test = pynn.data.Loader(data.test_images[:, None], data.test_labels, BATCH, shuffle=False, scale=data.scale)
    model = build()
    optimizer = pynn.optim.Adam(model.parameters(), lr=3e-3)
    schedule = pynn.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(batches))

    @pynn.capture  # may be left out: the kernels are the same, this saves the Python between them
    def step(x: pynn.Tensor, y: pynn.Tensor) -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(EPOCHS):
        for x, y in batches:
            step(x, y)
            schedule.step()
    return model, accuracy(model, test)


def main() -> None:
    data = pynn.datasets.digits()
    results = []
    for threads in (1, 2):
        start = time.perf_counter()
        with pynn.threads(threads):
            model, share = train(data)
        print(f"{threads} thread(s): test accuracy {share:.4f}, {time.perf_counter() - start:.2f} s")
        results.append({name: value.tobytes() for name, value in model.state_dict().items()})
    assert results[0] == results[1]
    print(f"the {len(results[0])} weight arrays are the same bits")


if __name__ == "__main__":
    main()
