"""The command line: `pynn train`, `pynn info`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pynn
from pynn import datasets, io, models, optim
from pynn.data import Loader
from pynn.nn import CrossEntropyLoss
from pynn.train import Callback, Checkpoint, History, Trainer

FAILURE, INTERRUPTED = 2, 130
CHECKPOINT_SECONDS = 10.0  # between two checkpoints within an epoch
RESULT_INDEPENDENT = ("run", "epochs", "threads", "data_dir", "out", "resume")  # options that may differ at --resume
DATA = {"digits": datasets.digits, "mnist": datasets.mnist, "fashion-mnist": datasets.fashion_mnist}
EPOCHS = {"digits": 60, "mnist": 10, "fashion-mnist": 10}
OPTIMIZERS = {"adam": (optim.Adam, 1e-3), "sgd": (optim.SGD, 0.1)}  # class, learning rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. An error is one line on stderr and status 2; Ctrl-C gives 130."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        print(end="", flush=True)
        return 0
    except KeyboardInterrupt as error:
        return _fail(f"interrupted{error}", INTERRUPTED)
    except MemoryError as error:
        return _fail(f"out of memory: {error}" if str(error) else "out of memory", FAILURE)
    except (ValueError, OSError, ArithmeticError) as error:
        return _fail(str(error) or type(error).__name__, FAILURE)


def _fail(message: str, status: int) -> int:
    print(f"pynn: {' '.join(message.split())}", file=sys.stderr)
    try:
        print(end="", flush=True)
    except OSError:  # a full disk or a closed pipe behind stdout: nothing may be left for the exit to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_fail(f"{message} (see {self.prog} --help)", FAILURE))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pynn", description="Train neural networks on this machine's CPU.")
    parser.add_argument("--version", action="version", version=f"pynn {pynn.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model on images and save it",
        description="Train a model on images. Writes model.safetensors, history.csv and curves.png, meanwhile "
        "checkpoint.safetensors, and prints the accuracy on the test images. Without arguments: the bundled 8x8 "
        "digits, in seconds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.set_defaults(run=_train)
    train.add_argument("model", nargs="?", default="mlp", choices=models.names(), help="kind of model")
    train.add_argument("--data", default="digits", choices=DATA, help="data set")
    train.add_argument("--data-dir", metavar="DIR", help="folder of the IDX files of mnist or fashion-mnist")
    train.add_argument("--hidden", type=_sizes, default="100", metavar="N[,N…]", help="sizes of the hidden layers")
    train.add_argument("--activation", default="relu", choices=models.ACTIVATIONS, help="between the layers")
    train.add_argument(
        "--epochs", type=_count, metavar="N", help="passes over the data (default: 60 for digits, else 10)"
    )
    train.add_argument("--batch-size", type=_count, default=64, metavar="N", help="samples in a step")
    train.add_argument("--optimizer", default="adam", choices=OPTIMIZERS, help="how the weights are changed")
    train.add_argument("--lr", type=_rate, metavar="X", help="learning rate (default: 0.001 for adam, 0.1 for sgd)")
    train.add_argument("--seed", type=_seed, default=0, metavar="N", help="of initial weights and order of the samples")
    train.add_argument("--threads", type=_count, metavar="N", help="threads at most (default: what suits the machine)")
    train.add_argument("--out", default="pynn-run", metavar="DIR", help="folder for the results")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from checkpoint.safetensors in that folder, if it is there; ends as if never interrupted",
    )

    info = commands.add_parser("info", help="what pynn found on this machine", description="Show pynn.info().")
    info.set_defaults(run=_info)
    return parser


def _info(options: argparse.Namespace) -> None:
    print(pynn.info())


def _train(options: argparse.Namespace) -> None:
    if options.threads is not None:
        pynn.set_num_threads(options.threads)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write into {out}")
    data = _load(options.data, options.data_dir)
    training, test = (
        Loader(images.reshape(len(images), -1), labels, options.batch_size, seed=options.seed, scale=data.scale)
        for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
    )
    sizes = [training.inputs.shape[1], *options.hidden, len(data.classes)]
    pynn.manual_seed(options.seed)
    model = models.get(options.model)(sizes, options.activation)
    optimizer, rate = OPTIMIZERS[options.optimizer]
    options.lr = rate if options.lr is None else options.lr
    trainer = Trainer(model, optimizer(model.parameters(), lr=options.lr), CrossEntropyLoss())
    checkpoint = out / "checkpoint.safetensors"
    history = trainer.fit(
        training,
        options.epochs or EPOCHS[options.data],
        validation=test,
        callbacks=[_SameOptions(options), Checkpoint(checkpoint, every_seconds=CHECKPOINT_SECONDS)],
        resume=checkpoint if options.resume and checkpoint.exists() else None,
    )
    description = {
        "architecture": {"name": options.model, "sizes": sizes, "activation": options.activation},
        "preprocessing": {"scale": data.scale, "mean": 0.0, "std": 1.0, "flatten": True},
        "classes": data.classes,
    }
    io.save_weights(out / "model.safetensors", model.state_dict(), description)
    if history:
        with io.replacing(out / "history.csv") as file:
            file.write(history.to_csv().encode())
    if history.interrupted:
        raise KeyboardInterrupt(
            f" after {len(history)} epochs; the same command with --resume goes on from {checkpoint}"
        )
    accuracy = history[-1]["val_accuracy"]
    written = ["model.safetensors", "history.csv"]
    if _draw(history, out / "curves.png"):
        written.append("curves.png")
    correct, total = round(accuracy * test.samples), test.samples
    print(f"test accuracy {accuracy:.4f} ({correct} of {total} images); {', '.join(written)} in {out}")


class _SameOptions(Callback):
    """Lets a checkpoint be resumed only with the options that it was made with."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = {name: value for name, value in vars(options).items() if name not in RESULT_INDEPENDENT}

    def save_state(self, trainer: Trainer) -> dict[str, Any]:
        return self._options

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        for name, value in self._options.items():
            if state[name] != value:
                raise ValueError(f"{name.replace('_', ' ')} was {state[name]}, now it is {value}")


def _load(name: str, folder: str | None) -> datasets.Dataset:
    if name == "digits":
        if folder is not None:
            raise ValueError("--data-dir goes with --data mnist or fashion-mnist; the digits are bundled")
        return datasets.digits()
    return DATA[name](folder)


def _draw(history: History, path: Path) -> bool:
    """The curves of loss and accuracy as a picture; False where matplotlib is missing, which a line on stderr says."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("pynn: no curves.png, which needs matplotlib: pip install 'pynn-native[cli]'", file=sys.stderr)
        return False
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = history.column("epoch")
    losses.plot(epochs, history.column("loss"), label="training")
    losses.plot(epochs, history.column("val_loss"), label="test")
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    losses.legend()
    accuracies.plot(epochs, history.column("val_accuracy"), color="C1")
    accuracies.set(xlabel="epoch", ylabel="test accuracy")
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    with io.replacing(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return True


def _count(text: str) -> int:
    return _number(text, int, lambda n: 1 <= n < 2**63, "a whole number from 1 to 2^63 - 1")


def _seed(text: str) -> int:
    return _number(text, int, lambda n: 0 <= n < 2**63, "a whole number from 0 to 2^63 - 1")


def _rate(text: str) -> float:
    return _number(text, float, lambda x: 0 < x < math.inf, "a number > 0")


def _sizes(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _number(text: str, kind: Any, accepts: Any, expected: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accepts(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
