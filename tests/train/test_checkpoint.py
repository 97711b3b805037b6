"""Training that is ended at any moment and resumed ends with the same bits."""

import os
import signal

import numpy as np
import pytest

import pynn
from pynn import io, optim
from pynn.data import Loader
from pynn.nn import functional as F
from pynn.optim import lr_scheduler
from pynn.train import Callback, Checkpoint, EarlyStopping, Schedule, Trainer
from training import KillAfter, Killed, assert_same, blobs, rows, trainer, weights

DATA, VALIDATION = blobs(), blobs(60, seed=1)


class Case:
    """A way to train: how the trainer and its callbacks are made. 120 samples in batches of 50: 3 an epoch."""

    def __init__(self, optimizer="SGD", callbacks=lambda t: [], epochs=3, **options):
        self.epochs = epochs
        self.make, self.callbacks = lambda seed=0: trainer(optimizer, seed=seed, **options), callbacks

    def fit(self, t, *more, epochs=None, callbacks=None, data=DATA, **options):
        epochs = self.epochs if epochs is None else epochs
        callbacks = self.callbacks(t) if callbacks is None else callbacks
        options = {"validation": VALIDATION, "batch_size": None if isinstance(data, Loader) else 50, **options}
        return t.fit(data, epochs, callbacks=[*callbacks, *more], verbose=0, **options)

    def whole(self, **options):
        t = self.make()
        self.fit(t, **options)
        return t


def one_cycle(t):
    return Schedule(lr_scheduler.OneCycleLR(t.optimizer, 0.2, 9), every="step")


def plateau(t):
    return Schedule(lr_scheduler.ReduceLROnPlateau(t.optimizer, patience=0, threshold=0.9))


CASES = {
    "SGD": Case(),
    "momentum": Case(options={"momentum": 0.9, "nesterov": True}),
    "Adam": Case("Adam"),
    "AdamW": Case("AdamW"),
    "schedule by epoch": Case("Adam", lambda t: [Schedule(lr_scheduler.StepLR(t.optimizer, 1, 0.5))]),
    "schedule by step": Case(callbacks=lambda t: [one_cycle(t)]),
    "plateau": Case(callbacks=lambda t: [plateau(t)]),
    "accumulation": Case("Adam", accumulate=2),
    "clipping": Case("Adam", clip_grad_norm=0.05),
    "early stopping": Case("Adam", lambda t: [EarlyStopping(min_delta=10.0)], lr=0.5),
    "stopped early": Case("Adam", lambda t: [EarlyStopping(patience=1, min_delta=10.0)]),
    "stopped late": Case("Adam", lambda t: [EarlyStopping(patience=2, min_delta=10.0)], epochs=5),
    "all": Case("Adam", lambda t: [EarlyStopping(min_delta=10.0), one_cycle(t)], accumulate=2, clip_grad_norm=0.05),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("place", ["first", "last"])
def test_killed_after_any_step(kind, place, tmp_path):
    case, path = CASES[kind], tmp_path / "checkpoint"
    whole = case.whole()
    updates = len(whole.history) * (2 if whole.accumulate == 2 else 3)
    for k in range(1, updates + 1):
        t = case.make()
        callbacks = [*case.callbacks(t), KillAfter(k)]
        save = Checkpoint(path, every_steps=1)
        with pytest.raises(Killed):
            case.fit(t, callbacks=[save, *callbacks] if place == "first" else [*callbacks, save])
        if k == 1:
            assert not path.exists()
            continue
        resumed = case.make(seed=5)
        case.fit(resumed, Checkpoint(path), resume=path)
        assert_same(whole, resumed)
        resumed = case.make(seed=6)
        case.fit(resumed, resume=path)  # now from the end of the training
        assert_same(whole, resumed)


@pytest.mark.parametrize("kind", CASES)
def test_killed_again_and_again(kind, tmp_path):
    """Every process makes one step and is killed in the next."""
    case, path = CASES[kind], tmp_path / "checkpoint"
    whole = case.whole()
    for attempt in range(30):
        t = case.make(seed=attempt)
        try:
            resume = path if path.exists() else None
            case.fit(t if resume else case.make(), Checkpoint(path, every_steps=1), KillAfter(2), resume=resume)
            break
        except Killed:
            pass
    assert attempt >= 4
    assert_same(whole, t)


@pytest.mark.parametrize("moment", range(1, 14))
def test_ctrl_c_loses_nothing(moment, tmp_path):
    """In the forward pass of any batch, those of the validation included: 3 batches and 1 an epoch."""
    case, path, count = CASES["all"], tmp_path / "checkpoint", 0

    def loss(output, target):
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGINT)
        return F.cross_entropy(output, target)

    whole, t = case.whole(), case.make()
    t.loss = loss
    history = case.fit(t, Checkpoint(path, every_epochs=None))
    assert history.interrupted == (moment <= 12)
    resumed = case.make(seed=5)
    case.fit(resumed, resume=path)
    assert_same(whole, resumed)


def test_ctrl_c_in_an_evaluation_that_draws_random_numbers(tmp_path):
    path, drawn = tmp_path / "checkpoint", 0

    def run(interrupt, **options):
        t = trainer(options={"momentum": 0.9})

        def loss(output, target):
            nonlocal drawn
            if not t.model.training:
                drawn += 1
                pynn.randn(3)
                if interrupt and drawn == 2:
                    os.kill(os.getpid(), signal.SIGINT)
            return F.cross_entropy(output, target)

        t.loss = loss
        t.fit(DATA, 3, 50, VALIDATION, [Checkpoint(path)], verbose=0, **options)
        return t

    whole = run(False)
    drawn = 0
    assert len(run(True).history) == 1
    assert_same(whole, run(False, resume=path))


def test_a_checkpoint_by_a_function_holds_what_all_callbacks_have_done(tmp_path):
    case, path = CASES["early stopping"], tmp_path / "checkpoint"

    def save(t, row):
        t.save_checkpoint(path)
        assert row["epoch"] > 1 or not path.exists()

    whole, t = case.whole(), case.make()
    with pytest.raises(Killed):
        case.fit(t, callbacks=[save, *case.callbacks(t), KillAfter(8)])
    resumed = case.make(seed=5)
    case.fit(resumed, resume=path)
    assert_same(whole, resumed)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_goes_on_where_it_was(shuffle, tmp_path):
    case, path = CASES["momentum"], tmp_path / "checkpoint"

    def loader():
        return Loader(*DATA, batch_size=50, shuffle=shuffle, seed=3)

    whole = case.whole(data=loader())
    t, data = case.make(), loader()
    with pytest.raises(Killed):
        case.fit(t, Checkpoint(path, every_steps=1), KillAfter(6), data=data)
    resumed = case.make(seed=5)
    case.fit(resumed, data=data, resume=path)
    assert_same(whole, resumed)
    t = case.make()
    case.fit(t, data=loader(), epochs=1)
    case.fit(t, data=data, epochs=0)
    assert data.epoch == 3


def test_epochs_count_from_the_call_that_is_resumed_and_may_be_more(tmp_path):
    case, path = CASES["Adam"], tmp_path / "checkpoint"
    whole = case.whole(epochs=5)
    t = case.make()
    case.fit(t, epochs=1)
    with pytest.raises(Killed):
        case.fit(t, Checkpoint(path), KillAfter(4), epochs=2)
    for epochs, total in ((1, 2), (2, 3), (4, 5)):
        resumed = case.make(seed=5)
        assert case.fit(resumed, Checkpoint(path), epochs=epochs, resume=path) is resumed.history
        assert len(resumed.history) == total
    assert_same(whole, resumed)


def test_saved_by_hand_after_training(tmp_path):
    case, path = CASES["momentum"], tmp_path / "checkpoint"
    t = case.make()
    t.save_checkpoint(path)
    fresh = case.make(seed=5)
    case.fit(fresh, resume=path)
    assert_same(case.whole(), fresh)
    t = case.make()
    case.fit(t, epochs=2)
    t.save_checkpoint(path)
    resumed = case.make(seed=5)
    case.fit(resumed, resume=path, epochs=3)
    assert_same(case.whole(), resumed)


def test_seconds_go_on(tmp_path):
    case, path = CASES["SGD"], tmp_path / "checkpoint"
    t = case.make()
    with pytest.raises(Killed):
        case.fit(t, Checkpoint(path, every_steps=1), KillAfter(3))
    state = io.load_checkpoint(path)
    assert state["seconds"] > 0 and state["samples"] == 100
    io.save_checkpoint(path, {**state, "seconds": 1000.0})
    case.fit(t, resume=path)
    assert t.history[0]["seconds"] > 1000 > t.history[1]["seconds"] > 0


def test_when_checkpoints_are_written(tmp_path, monkeypatch):
    path, clock = tmp_path / "checkpoint", iter(np.arange(0, 1000, 4.0))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))  # Checkpoint looks once an update, once a write

    def written(**options):
        found = []

        class Noting(Checkpoint):
            def _save(self, t):
                found.append((len(t.history), t._run.samples))
                super()._save(t)

        trainer().fit(DATA, 3, 50, callbacks=[Noting(path, **options)], verbose=0)
        return found

    assert written() == [(1, 0), (2, 0), (3, 0), (3, 0)]
    assert written(every_epochs=2) == [(2, 0), (3, 0)]
    assert written(every_epochs=None, every_steps=2) == [(0, 100), (1, 50), (1, 120), (2, 100), (3, 0)]
    assert written(every_epochs=None, every_seconds=12.0) == [(0, 120), (1, 120), (2, 120), (3, 0)]


def test_the_best_checkpoint_is_kept(tmp_path):
    class Column(Callback):
        def on_epoch_end(self, t, row):
            row["value"] = (3, 1, 2, float("nan"), 0.5)[row["epoch"] - 1]

    def saved():
        return len(io.load_checkpoint(best)["history"])

    def fit(t, epochs, **options):
        callbacks = [Checkpoint(path), Column(), Checkpoint(best, monitor="value")]
        return t.fit(DATA, epochs, 50, callbacks=callbacks, verbose=0, **options)

    path, best = tmp_path / "checkpoint", tmp_path / "best"
    fit(trainer(), 4)
    assert saved() == 2
    fit(trainer(), 4, resume=path)
    assert saved() == 2
    fit(trainer(), 5, resume=path)
    assert saved() == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_epochs": 0}, "a whole number >= 1 or None for every_epochs, got 0"),
        ({"every_steps": 1.5}, "a whole number >= 1 or None for every_steps, got 1.5"),
        ({"every_seconds": -1}, "a number >= 0 or None for every_seconds, got -1"),
        ({"monitor": "loss", "every_steps": 2}, "with monitor, every epoch decides"),
        ({"monitor": "loss", "mode": "x"}, "'min', 'max' or 'auto' as mode"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Checkpoint("c", **options)


def test_a_folder_that_is_not_there_is_found_before_training(tmp_path):
    t = trainer()
    with pytest.raises(FileNotFoundError, match="none"):
        t.fit(DATA, callbacks=[Checkpoint(tmp_path / "none" / "c")], verbose=0)
    assert not t.history


# What does not fit.


@pytest.fixture
def checkpoint(tmp_path):
    """Of "all" in the middle of the second epoch."""
    case, path = CASES["all"], tmp_path / "checkpoint"
    with pytest.raises(Killed):
        case.fit(case.make(), Checkpoint(path, every_steps=1), KillAfter(4))
    return path


def everything(t):
    """What a trainer consists of, as bytes and text."""
    optimizer = t.optimizer.state_dict()
    state = {n: {k: np.asarray(v).tobytes() for k, v in s.items()} for n, s in optimizer["state"].items()}
    return [
        {n: w.tobytes() for n, w in weights(t).items()},
        state,
        repr(optimizer["param_groups"]),
        rows(t),
        pynn.get_rng_state().tolist(),
    ]


def assert_refused(t, path, message, callbacks=None, **options):
    callbacks = CASES["all"].callbacks(t) if callbacks is None else callbacks(t)
    t.fit(DATA, 1, 50, VALIDATION, callbacks, verbose=0)
    before, states = everything(t), repr([c.save_state(t) for c in callbacks])
    with pytest.raises(ValueError, match=message):
        CASES["all"].fit(t, resume=path, callbacks=callbacks, **options)
    assert everything(t) == before and repr([c.save_state(t) for c in callbacks]) == states
    t.fit(DATA, 1, 50, verbose=0)
    assert len(t.history) == 2


OTHERS = {
    "optimizer": (lambda: trainer("AdamW", accumulate=2, clip_grad_norm=0.05), "expected optimizer AdamW, got Adam"),
    "accumulate": (lambda: trainer("Adam", clip_grad_norm=0.05), "expected accumulate 1, got 2"),
    "clipping": (lambda: trainer("Adam", accumulate=2, clip_grad_norm=1), "expected clip_grad_norm 1.0, got 0.05"),
    "seed": (lambda: trainer("Adam", accumulate=2, clip_grad_norm=0.05), "expected seed 7, got 0"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_trainer_is_refused(kind, checkpoint):
    make, message = OTHERS[kind]
    t = make()
    if kind == "seed":
        t.seed = 7
    assert_refused(t, checkpoint, rf"fit: cannot resume from .*checkpoint: .*{message}")


MODELS = {
    "more layers": lambda: [pynn.nn.Linear(2, 8), pynn.nn.Linear(8, 3), pynn.nn.Linear(3, 3)],
    "another shape": lambda: [pynn.nn.Linear(2, 9), pynn.nn.Tanh(), pynn.nn.Tanh(), pynn.nn.Linear(9, 3)],
    "another dtype": lambda: [pynn.nn.Linear(2, 3, dtype=np.float64)],
}


@pytest.mark.parametrize("kind", MODELS)
def test_another_model_is_refused(kind, checkpoint):
    model = pynn.nn.Sequential(*MODELS[kind]())
    t = Trainer(model, optim.Adam(model.parameters()), F.cross_entropy, accumulate=2, clip_grad_norm=0.05)
    assert_refused(t, checkpoint, r"'\d\.\w+': expected (float|none)")


def test_other_data_and_callbacks_are_refused(checkpoint):
    make = CASES["all"].make
    assert_refused(make(), checkpoint, "expected batch_size 40, got 50", batch_size=40)
    assert_refused(make(), checkpoint, "expected samples 60, got 120", data=VALIDATION)
    message = r"the states of the callbacks \[\], got \['EarlyStopping', 'Schedule'\]"
    assert_refused(make(), checkpoint, message, callbacks=lambda t: [])
    with pytest.raises(FileNotFoundError):
        CASES["all"].fit(make(), resume="/no/such")
    for wrong, message in (
        (lambda t: [EarlyStopping("loss"), one_cycle(t)], "EarlyStopping: expected monitor 'loss', got 'val_loss'"),
        (
            lambda t: [EarlyStopping("loss"), Schedule(lr_scheduler.StepLR(t.optimizer, 1))],
            "expected monitor|expected the state of StepLR",
        ),
    ):
        t = make()
        with pytest.raises(ValueError, match=message):
            CASES["all"].fit(t, callbacks=wrong(t), resume=checkpoint)
        assert not t.history


def places(value, path=()):
    """The paths of all values of a state."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    key, *rest = path
    items = dict(value.items()) if isinstance(value, dict) else list(value)
    items[key] = changed(items[key], rest, new)
    return tuple(items) if isinstance(value, tuple) else items


HOSTILE = [None, "x", -1, 2**70, 0.5, [], {}, [[1]], {"x": 1}, np.zeros(3), np.zeros((2, 8), np.float32)]


@pytest.mark.parametrize("new", HOSTILE, ids=repr)
def test_a_hostile_state_is_refused_or_harmless(new, checkpoint):
    """Any one value of the checkpoint replaced: a ValueError that changes nothing, or training that works."""
    case, state, bad = CASES["all"], io.load_checkpoint(checkpoint), checkpoint.with_name("bad")
    for path in places(state):
        if not path:
            continue
        io.save_checkpoint(bad, changed(state, path, new))
        t = case.make()
        before = everything(t)
        try:
            case.fit(t, resume=bad)
        except ValueError as error:
            if "cannot resume from" in str(error):
                assert everything(t)[0] == before[0] and everything(t)[3:] == before[3:], path
                continue
            assert "OneCycleLR: step" in str(error), path
        except (FloatingPointError, OverflowError) as error:  # numbers that nobody could train with
            assert "loss is" in str(error), path
        for row in t.history:
            assert isinstance(row["loss"], int | float)


def test_a_truncated_checkpoint_changes_nothing(checkpoint):
    content = checkpoint.read_bytes()
    case = CASES["all"]
    t = case.make()
    before = everything(t)
    for size in range(0, len(content), 101):
        checkpoint.write_bytes(content[:size])
        with pytest.raises(ValueError, match="checkpoint: not a readable safetensors file"):
            case.fit(t, resume=checkpoint, callbacks=[])
        assert everything(t) == before
