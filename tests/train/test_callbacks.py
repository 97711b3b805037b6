"""Callbacks: their hooks, early stopping, logs."""

import csv
import json
import os
import signal

import numpy as np
import pytest

import pynn
from pynn.optim import SGD, lr_scheduler
from pynn.train import Callback, Checkpoint, CSVLogger, EarlyStopping, JSONLogger, Schedule
from training import KillAfter, Killed, assert_same, blobs, trainer, weights

DATA = blobs()


def fit(trainer, epochs=3, callbacks=(), **options):
    return trainer.fit(DATA, epochs, batch_size=50, callbacks=callbacks, verbose=0, **options)


class Noting(Callback):
    """Notes which hooks are called, in `calls`, which callbacks may share."""

    def __init__(self, name="", calls=None, stop=None):
        self.name, self.calls, self.stop = name, [] if calls is None else calls, stop

    def on_fit_start(self, trainer):
        self.calls.append(f"{self.name}start")

    def on_step_end(self, trainer, info):
        self.calls.append(info)

    def on_epoch_end(self, trainer, row):
        self.calls.append(row)
        return row["epoch"] == self.stop

    def on_stop(self, trainer):
        self.calls.append(f"{self.name}stop")

    def on_fit_end(self, trainer):
        self.calls.append(f"{self.name}end")


def test_hooks_are_called_in_order():
    noting = Noting()
    t = trainer()
    history = fit(t, 2, [noting])
    start, *first, row, _, _, _, last, stop, end = noting.calls
    assert (start, stop, end) == ("start", "stop", "end")
    assert [row, last] == history
    assert [(i["epoch"], i["step"], i["steps"], i["samples"]) for i in first] == [
        (1, s, 3, n) for s, n in ((1, 50), (2, 50), (3, 20))
    ]
    mean = sum(i["loss"] * i["samples"] for i in first) / 120
    assert abs(mean - row["loss"]) <= 1e-12
    assert "grad_norm" not in first[0]


def test_true_ends_the_training_and_all_are_called():
    after = Noting()
    history = fit(trainer(), 5, [Noting(stop=2), lambda trainer, row: None, after])
    assert len(history) == 2 and after.calls[-3:] == [history[1], "stop", "end"]


@pytest.mark.parametrize("error", [Killed, FloatingPointError, KeyboardInterrupt])
def test_endings_come_in_reverse_order_whatever_happens(error):
    def fail(trainer, row):
        raise error

    calls = []
    callbacks = [Noting("a ", calls), fail, Noting("b ", calls)]
    if error is KeyboardInterrupt:
        assert fit(trainer(), 3, callbacks).interrupted
    else:
        with pytest.raises(error):
            fit(trainer(), 3, callbacks)
    assert calls[-2:] == ["b end", "a end"] and "a stop" not in calls


def test_an_error_of_an_ending_does_not_keep_the_others_from_theirs():
    class Failing(Callback):
        def on_fit_end(self, trainer):
            raise Killed

    noting = Noting()
    with pytest.raises(Killed):
        fit(trainer(), 1, [noting, Failing()])
    assert noting.calls[-1] == "end"


def test_ctrl_c_waits_until_all_callbacks_have_been_called():
    def interrupt(trainer, row):
        os.kill(os.getpid(), signal.SIGINT)

    noting = Noting()
    history = fit(trainer(), 3, [interrupt, noting])
    assert history.interrupted and len(history) == 1
    assert noting.calls[-3:] == [history[0], "stop", "end"]


def test_a_second_ctrl_c_does_not_wait():
    def impatient(output, target):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    t = trainer(loss=impatient)
    with pytest.raises(KeyboardInterrupt):
        fit(t)
    assert t.history.interrupted
    with pytest.raises(RuntimeError, match="save_checkpoint: the training was ended by an error in the middle"):
        t.save_checkpoint("never")


@pytest.mark.parametrize("value", [3, "x", Callback, None])
def test_what_is_no_callback(value):
    with pytest.raises(TypeError, match=r"fit: expected functions or pynn\.train\.Callback objects as callbacks, got"):
        fit(trainer(), callbacks=[value])


class Column(Callback):
    """Puts prescribed values into the history."""

    def __init__(self, *values, name="value"):
        self.values, self.name = values, name

    def on_epoch_end(self, trainer, row):
        row[self.name] = self.values[row["epoch"] - 1]
        self.weights = {**getattr(self, "weights", {}), row["epoch"]: weights(trainer)}


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ((3, 2, 1, 1, 1, 1), {"patience": 2}, 5, 3),
        ((3, 2, 4, 4, 1, 4, 4, 4), {"patience": 3}, 8, 5),
        ((1, 2, 3, 3), {"patience": 1, "mode": "max"}, 4, 3),
        ((1, 2, 3, 3), {"patience": 0}, 2, 1),
        ((9, 8.5, 8, 7.9, 7.8), {"patience": 2, "min_delta": 1}, 3, 1),
        ((9, 8.5, 7.9, 7.8, 7), {"patience": 2, "min_delta": 1}, 5, 3),
        ((float("nan"), 2, float("nan"), 1), {"patience": 2}, 4, 4),
        ((2, 1), {}, 2, 2),
    ],
)
def test_early_stopping(values, options, epochs, best):
    column, stopping = Column(*values), EarlyStopping("value", **options)
    t = trainer()
    assert len(fit(t, len(values), [column, stopping])) == epochs
    assert (stopping.best_epoch, stopping.best) == (best, values[best - 1])
    for name, value in weights(t).items():
        np.testing.assert_array_equal(value, column.weights[best][name])


def test_early_stopping_takes_the_direction_from_the_name():
    values = (0.1, 0.2, 0.2, 0.2)
    for name, best in (("val_accuracy", 2), ("val_loss", 1)):
        stopping = EarlyStopping(name, patience=9)
        fit(trainer(), 4, [Column(*values, name=name), stopping])
        assert stopping.best_epoch == best


def test_early_stopping_can_leave_the_last_weights():
    column = Column(1, 2, 3)
    t = trainer()
    fit(t, 3, [column, EarlyStopping("value", patience=2, restore_best=False)])
    np.testing.assert_array_equal(weights(t)["0.weight"], column.weights[3]["0.weight"])


def interrupting(trainer, row):
    if row["epoch"] == 3:
        os.kill(os.getpid(), signal.SIGINT)


def failing(trainer, row):
    if row["epoch"] == 3:
        raise Killed


@pytest.mark.parametrize("ending", [interrupting, failing, lambda trainer, row: row["epoch"] == 3, KillAfter(8), None])
@pytest.mark.parametrize("first", [False, True])
def test_the_best_weights_come_back_however_training_ends(ending, first):
    column, stopping = Column(2, 1, 3, 3), EarlyStopping("value")
    callbacks = (
        [column, stopping] if ending is None else [ending, column, stopping] if first else [column, stopping, ending]
    )
    t = trainer()
    try:
        fit(t, 4, callbacks)
    except Killed:
        pass
    np.testing.assert_array_equal(weights(t)["0.weight"], column.weights[2]["0.weight"])


def test_early_stopping_starts_afresh_in_another_fit():
    stopping = EarlyStopping("value", patience=1)
    for _ in range(2):
        assert len(fit(trainer(), 5, [Column(1, 2, 0, 0, 0), stopping])) == 2


def test_early_stopping_names_the_columns_it_could_watch():
    with pytest.raises(
        ValueError, match="one of the columns epoch, loss, seconds to monitor, got 'val_loss'; give fit a"
    ):
        fit(trainer(), 1, [EarlyStopping()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": -1}, "whole number >= 0 for patience"),
        ({"patience": 1.5}, "whole number >= 0 for patience"),
        ({"mode": "best"}, "'min', 'max' or 'auto' as mode, got 'best'"),
        ({"min_delta": -1}, "a number >= 0 for min_delta"),
        ({"min_delta": float("nan")}, "a number >= 0 for min_delta"),
    ],
)
def test_bad_options_of_early_stopping(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)


def read_csv(path):
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


LOGGERS = [(CSVLogger, read_csv), (JSONLogger, read_jsonl)]


@pytest.mark.parametrize(("logger", "read"), LOGGERS)
def test_logs_hold_the_history_at_any_time(logger, read, tmp_path):
    path = tmp_path / "log"
    path.write_text("an older run\n")
    t = trainer()

    def check(trainer, row):
        assert read(path) == trainer.history

    fit(t, 3, [logger(path), check])
    assert read(path) == t.history and len(t.history) == 3
    fit(t, 2, [logger(str(path)), check])
    assert read(path) == t.history and len(t.history) == 5


def test_a_log_takes_a_new_column(tmp_path):
    t = trainer()
    fit(t, 1, [CSVLogger(tmp_path / "log")])
    fit(t, 1, [CSVLogger(tmp_path / "log")], validation=DATA)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == "epoch,loss,seconds,val_loss,val_accuracy" and lines[1].endswith(",,") and len(lines) == 3
    assert (tmp_path / "log").read_text() == t.history.to_csv()


def test_json_has_no_nan(tmp_path):
    callbacks = [Column(float("nan"), np.float32("inf"), np.float32(0.5)), JSONLogger(tmp_path / "log")]
    fit(trainer(), 3, callbacks)
    assert [row["value"] for row in read_jsonl(tmp_path / "log")] == [None, None, 0.5]


@pytest.mark.parametrize(("logger", "read"), LOGGERS)
@pytest.mark.parametrize("kill", [3, 4, 5, 6, 7, 8])
def test_a_resumed_run_logs_each_epoch_once(logger, read, kill, tmp_path):
    path, checkpoint = tmp_path / "log", tmp_path / "checkpoint"
    whole = trainer()
    fit(whole, 3)
    with pytest.raises(Killed):
        fit(trainer(), 3, [Checkpoint(checkpoint, None, every_steps=2), logger(path), KillAfter(kill)])
    with open(path, "a") as file:
        file.write('{"epoch": 1, "half a li')
    resumed = trainer(seed=1)
    fit(resumed, 3, [Checkpoint(checkpoint), logger(path)], resume=checkpoint)
    assert_same(whole, resumed)
    assert read(path) == resumed.history


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="none"):
        fit(trainer(), 1, [CSVLogger(tmp_path / "none" / "log")])


def test_schedule_of_a_scheduler_without_a_value():
    scheduler = lr_scheduler.StepLR(SGD([pynn.nn.Parameter(np.zeros(3, np.float32))], lr=0.1), 1)
    with pytest.raises(ValueError, match="Schedule: StepLR is stepped without a value, got monitor='loss'"):
        Schedule(scheduler, monitor="loss")
