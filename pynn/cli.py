"""The command line: `pynn train`, `pynn predict`, `pynn info`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import pynn
from pynn import datasets, io, models, nn, optim, viz
from pynn.data import Loader
from pynn.io.images import read_image
from pynn.train import Callback, Checkpoint, Trainer

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
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
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
        description="Train a model on images. Writes model.safetensors, history.csv, curves.png and confusion.png, "
        "meanwhile checkpoint.safetensors, and prints the accuracy on the test images. Without arguments: the bundled "
        "8x8 digits, in seconds.",
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

    predict = commands.add_parser(
        "predict",
        help="what a saved model sees in images",
        description="One line for each image: the file (and the image's number in an IDX file), then the most likely "
        "classes with their probabilities. PNG and JPEG pictures are made grey and resized to the model's input; "
        "bright strokes on a dark background are expected, as in MNIST.",
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("model", metavar="MODEL", help="a model.safetensors of pynn train, or of pynn.save")
    predict.add_argument("files", nargs="+", metavar="FILE", help="images: IDX (plain or .gz), PNG or JPEG")
    predict.add_argument("--top", type=_count, default=1, metavar="N", help="classes of each image (default: 1)")
    predict.add_argument("--invert", action="store_true", help="the images have dark strokes on a bright background")

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
    shape = (1, *data.train_images.shape[1:])
    model.preprocessing = nn.Preprocessing(shape, data.scale, flatten=training.inputs.ndim == 2)
    model.classes = data.classes
    trainer = Trainer(model, optimizer(model.parameters(), lr=options.lr), nn.CrossEntropyLoss())
    checkpoint = out / "checkpoint.safetensors"
    history = trainer.fit(
        training,
        options.epochs or EPOCHS[options.data],
        validation=test,
        callbacks=[_SameOptions(options), Checkpoint(checkpoint, every_seconds=CHECKPOINT_SECONDS)],
        resume=checkpoint if options.resume and checkpoint.exists() else None,
    )
    pynn.save(model, out / "model.safetensors")
    if history:
        with io.replacing(out / "history.csv") as file:
            file.write(history.to_csv().encode())
    if history.interrupted:
        raise KeyboardInterrupt(
            f" after {len(history)} epochs; the same command with --resume goes on from {checkpoint}"
        )
    accuracy = history[-1]["val_accuracy"]
    written = ["model.safetensors", "history.csv"]
    try:
        viz.learning_curves(history, out / "curves.png")
        predictions = model.predict(data.test_images).argmax(axis=1)
        viz.confusion_matrix(data.test_labels, predictions, data.classes, out / "confusion.png")
        written += ["curves.png", "confusion.png"]
    except ImportError as error:
        print(f"pynn: no pictures: {error}", file=sys.stderr)
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


def _predict(options: argparse.Namespace) -> None:
    model = pynn.load(options.model)
    preprocessing = model.preprocessing
    if preprocessing is None or len(preprocessing.input_shape) != 3 or preprocessing.input_shape[0] != 1:
        raise ValueError(f"{options.model}: expected a model of grey images, whose preprocessing says so")
    for file in options.files:
        images, scale = _read_images(file, preprocessing)
        arguments = {**preprocessing.config(), "scale": scale}
        if options.invert:  # 1 - scale * pixel is an affine function of the pixel as well
            arguments |= {"scale": -scale, "mean": np.subtract(preprocessing.mean, 1)}
        model.preprocessing = nn.Preprocessing(**arguments)
        try:
            probabilities = model.predict(images)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        names = model.classes or [str(i) for i in range(probabilities.shape[1])]
        if len(names) != probabilities.shape[1]:
            raise ValueError(f"{options.model}: {len(names)} classes for {probabilities.shape[1]} outputs")
        for number, row in enumerate(probabilities):
            best = np.argsort(-row, kind="stable")[: options.top]
            where = f"{_printable(file)}[{number}]" if images.ndim == 3 else _printable(file)
            print(f"{where}: {', '.join(f'{_printable(names[i])} {row[i]:.4f}' for i in best)}")


def _read_images(file: str, preprocessing: nn.Preprocessing) -> tuple[np.ndarray, float]:
    """The pixels (N, height, width) of an IDX file or (height, width) of a picture, and what scales them to 0…1."""
    with open(file, "rb") as stream:
        start = stream.read(2)
    if start not in (b"\0\0", b"\x1f\x8b"):
        return read_image(file, preprocessing.input_shape[1:]), 1 / 255
    images = datasets.read_idx(file)
    if images.ndim != 3:
        raise ValueError(f"{file}: expected images, found labels")
    return images, preprocessing.scale


def _printable(text: str) -> str:
    """Names from files and of files, without what a terminal would take for a command."""
    return text if text.isprintable() else ascii(text)


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
