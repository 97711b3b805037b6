"""The command line: `pynn train`, `pynn predict`, `pynn info`."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import pynn
from pynn import datasets, io, models, nn, optim, viz
from pynn.data import Loader
from pynn.io.images import read_image
from pynn.train import Callback, Checkpoint, Schedule, Trainer

FAILURE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141  # the latter two as the shell counts death by a signal
CHECKPOINT_SECONDS = 10.0  # between two checkpoints within an epoch
RESULT_INDEPENDENT = ("run", "threads", "data_dir", "out", "resume", "overwrite")  # may differ at --resume
MODELS = {"lenet5": ("activation", "pooling"), "lenet_tf": (), "mlp": ("hidden", "activation")}  # with their options
HIDDEN = [100]
DATA: dict[str, Callable[..., datasets.Dataset]] = {
    "digits": datasets.digits,
    "mnist": datasets.mnist,
    "fashion-mnist": datasets.fashion_mnist,
}
EPOCHS = {"digits": 60, "mnist": 10, "fashion-mnist": 10}
OPTIMIZERS: dict[str, tuple[Callable[..., optim.Optimizer], float]] = {
    "adam": (optim.Adam, 1e-3),
    "sgd": (optim.SGD, 0.1),
}  # class, learning rate
_Scheduler = Callable[[optim.Optimizer, int], optim.lr_scheduler.LRScheduler]  # of an optimizer and the number of steps
SCHEDULES: dict[str, _Scheduler] = {
    "constant": lambda optimizer, steps: optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    "cosine": optim.lr_scheduler.CosineAnnealingLR,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. An error is one line on stderr and status 2; Ctrl-C gives 130.

    Where what reads the output ends first, as `head` does, the command ends too, without a word and with status 141.
    """
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        print(end="", flush=True)
        return 0
    except KeyboardInterrupt as error:
        return _fail(f"interrupted{error}", INTERRUPTED)
    except BrokenPipeError:
        return _flushed(BROKEN_PIPE)
    except MemoryError as error:
        return _fail(f"out of memory: {error}" if str(error) else "out of memory", FAILURE)
    except (ValueError, OSError, ArithmeticError, ImportError) as error:
        return _fail(str(error) or type(error).__name__, FAILURE)


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):
        print(f"pynn: {' '.join(message.split())}", file=sys.stderr)
    return _flushed(status)


def _flushed(status: int) -> int:
    """`status`, after which nothing is left that Python would flush at its exit and complain of."""
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end="", file=stream, flush=True)
        except OSError:  # a full disk or a closed pipe behind it
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


class _Parser(argparse.ArgumentParser):
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        print(end="", flush=True)  # of --help and --version; an error here is one of `main`
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        sys.exit(_fail(f"{message} (see {self.prog} --help)", FAILURE))


class _Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults that argparse knows."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        unknown = action.default is None or action.default is False
        return action.help if unknown else super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pynn", description="Train neural networks on this machine's CPU.")
    parser.add_argument("--version", action="version", version=f"pynn {pynn.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model on images and save it",
        description="Train a model on images. Writes model.safetensors, history.csv, curves.png and confusion.png, "
        "meanwhile checkpoint.safetensors, and prints the accuracy on the test images. What a finished run has left in "
        "the folder is replaced. Without arguments: lenet5 on the bundled digits, in seconds.",
        formatter_class=_Defaults,
    )
    train.set_defaults(run=_train)
    train.add_argument("model", nargs="?", default="lenet5", choices=MODELS, help="kind of model")
    train.add_argument("--data", default="digits", choices=DATA, help="data set")
    train.add_argument("--data-dir", metavar="DIR", help="folder of the IDX files of mnist or fashion-mnist")
    train.add_argument("--hidden", type=_sizes, metavar="N[,N…]", help="mlp: sizes of the hidden layers (default: 100)")
    train.add_argument(
        "--activation", choices=models.ACTIVATIONS, help="lenet5, mlp: between the layers (default: relu)"
    )
    train.add_argument("--pooling", choices=models.POOLINGS, help="lenet5: after the convolutions (default: max)")
    train.add_argument(
        "--epochs", type=_count, metavar="N", help="passes over the data (default: 60 for digits, else 10)"
    )
    train.add_argument("--batch-size", type=_count, default=64, metavar="N", help="samples in a step")
    train.add_argument("--optimizer", default="adam", choices=OPTIMIZERS, help="how the weights are changed")
    train.add_argument("--lr", type=_rate, metavar="X", help="learning rate (default: 0.001 for adam, 0.1 for sgd)")
    train.add_argument(
        "--schedule", default="cosine", choices=SCHEDULES, help="of the learning rate; cosine: down to 0 at the end"
    )
    train.add_argument("--seed", type=_seed, default=0, metavar="N", help="of initial weights and order of the samples")
    train.add_argument("--threads", type=_count, metavar="N", help="threads at most (default: what suits the machine)")
    train.add_argument("--out", default="pynn-run", metavar="DIR", help="folder for the results")
    again = train.add_mutually_exclusive_group()
    again.add_argument(
        "--resume",
        action="store_true",
        help="go on from checkpoint.safetensors in that folder, if it is there; ends as if never interrupted",
    )
    again.add_argument(
        "--overwrite", action="store_true", help="start again, although an unfinished run is in that folder"
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
    _check(options)
    if options.threads is not None:
        pynn.set_num_threads(options.threads)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write into {out}")
    checkpoint = out / "checkpoint.safetensors"
    if not (options.resume or options.overwrite):
        _check_finished(checkpoint)
    data = _load(options)
    training = _loader(options, data, data.train_images, data.train_labels)
    test = _loader(options, data, data.test_images, data.test_labels)
    pynn.manual_seed(options.seed)
    model = _model(options, data)
    model.preprocessing = nn.Preprocessing(
        (1, *data.train_images.shape[1:]), data.scale, flatten=training.inputs.ndim == 2
    )
    model.classes = data.classes
    kind, rate = OPTIMIZERS[options.optimizer]
    options.lr = rate if options.lr is None else options.lr
    options.epochs = options.epochs or EPOCHS[options.data]
    optimizer = kind(model.parameters(), lr=options.lr)
    schedule = SCHEDULES[options.schedule](optimizer, options.epochs * len(training))
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss())
    history = trainer.fit(
        training,
        options.epochs,
        validation=test,
        callbacks=[
            _SameOptions(options),
            Schedule(schedule, every="step"),
            Checkpoint(checkpoint, every_seconds=CHECKPOINT_SECONDS),
        ],
        resume=checkpoint if options.resume and checkpoint.exists() else None,
    )
    if history:  # or else what lies there is more than this run has reached
        pynn.save(model, out / "model.safetensors")
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


def _check(options: argparse.Namespace) -> None:
    """ValueError for an option that the model does not have."""
    for name in ("hidden", "activation", "pooling"):
        if getattr(options, name) is not None and name not in MODELS[options.model]:
            users = [model for model, names in MODELS.items() if name in names]
            raise ValueError(f"--{name} goes with {' or '.join(users)}, not with {options.model}")


class _SameOptions(Callback):
    """Lets a checkpoint be resumed only with the options that it was made with."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = {name: value for name, value in vars(options).items() if name not in RESULT_INDEPENDENT}

    def save_state(self, trainer: Trainer) -> dict[str, Any]:
        return self._options

    def load_state(self, trainer: Trainer, state: Mapping[str, Any]) -> None:
        for name, value in self._options.items():
            if state[name] != value and not (name == "epochs" and self._options["schedule"] == "constant"):
                raise ValueError(f"{name.replace('_', ' ')} was {state[name]}, now it is {value}")


def _check_finished(checkpoint: Path) -> None:
    """ValueError for a checkpoint that is not that of a finished run: hours of work may be lost with it."""
    if not checkpoint.exists():
        return
    try:
        state = io.load_checkpoint(checkpoint)
        reached, asked = len(state["history"]), dict(state["callbacks"])[_SameOptions.__name__]["epochs"]
        if reached >= asked:
            return
        found = f"an unfinished run ({reached} of {asked} epochs)"
    except (ValueError, KeyError, TypeError):  # damaged, or that of another program
        found = "a checkpoint that is not of a finished run"
    raise ValueError(
        f"{checkpoint.parent} holds {found}: go on with --resume, start again with --overwrite, or choose another --out"
    )


def _load(options: argparse.Namespace) -> datasets.Dataset:
    if options.data != "digits":
        return DATA[options.data](options.data_dir)
    if options.data_dir is not None:
        raise ValueError("--data-dir goes with --data mnist or fashion-mnist; the digits are bundled")
    return datasets.digits(8 if options.model == "mlp" else 28)


def _loader(options: argparse.Namespace, data: datasets.Dataset, images: np.ndarray, labels: np.ndarray) -> Loader:
    """Batches of (N, pixels) for mlp, of (N, 1, height, width) for the others."""
    images = images.reshape(len(images), -1) if options.model == "mlp" else images[:, None]
    return Loader(images, labels, options.batch_size, seed=options.seed, scale=data.scale)


def _model(options: argparse.Namespace, data: datasets.Dataset) -> nn.Module:
    """The model that the options ask for; its defaults are written into them."""
    arguments = {name: value for name in ("activation", "pooling") if (value := getattr(options, name)) is not None}
    if options.model == "mlp":
        options.hidden = options.hidden or HIDDEN
        arguments["sizes"] = [data.train_images[0].size, *options.hidden, len(data.classes)]
    else:
        arguments["classes"] = len(data.classes)
    model = models.get(options.model)(**arguments)
    used = model.architecture["arguments"]
    vars(options).update({name: used[name] for name in MODELS[options.model] if name in used})
    return model


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
        height, width = preprocessing.input_shape[1:]
        return read_image(file, (height, width)), 1 / 255
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
