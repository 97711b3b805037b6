"""The training loop."""

import logging
import os
import signal
import threading

import numpy as np
import pytest

import pynn
from pynn import nn, optim
from pynn.data import Loader
from pynn.nn import functional as F
from pynn.train import Trainer


def blobs(n=120, seed=0):
    """Three separable classes of points."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.array([[0, 3], [3, 0], [-3, -3]])[y] + rng.standard_normal((n, 2)) * 0.5
    return x.astype(np.float32), y


def make(lr=0.1, seed=0, loss=F.cross_entropy, model=None, **options):
    pynn.manual_seed(seed)
    model = model or nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
    return Trainer(model, optim.SGD(model.parameters(), lr=lr), loss, **options)


def weights(trainer):
    return trainer.model.state_dict()


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_fit_learns_and_keeps_a_history():
    trainer = make()
    history = trainer.fit(blobs(), epochs=20, batch_size=16, validation=blobs(seed=1), verbose=0)
    assert history is trainer.history
    assert history.column("epoch") == list(range(1, 21))
    assert history[-1]["loss"] < 0.1 < history[0]["loss"]
    assert history[-1]["val_accuracy"] >= 0.98
    assert list(history[0]) == ["epoch", "loss", "val_loss", "val_accuracy", "seconds"]
    assert not history.interrupted


def test_it_is_the_loop_written_by_hand():
    x, y = blobs(50)
    trainer = make(seed=4)
    history = trainer.fit(Loader(x, y, 16, seed=2), epochs=np.int64(3), verbose=0)

    by_hand = make(seed=4)
    loader = Loader(x, y, 16, seed=2)
    for row in history:
        total = 0.0
        for batch, labels in loader:
            by_hand.optimizer.zero_grad()
            loss = F.cross_entropy(by_hand.model(batch), labels)
            loss.backward()
            by_hand.optimizer.step()
            total += loss.item() * len(labels)
        assert row["loss"] == total / 50
    assert_same_weights(weights(trainer), weights(by_hand))


def test_the_seed_fixes_the_order():
    def trained(seed):
        trainer = make(seed=0)
        trainer.seed = seed
        trainer.fit(blobs(), epochs=2, batch_size=16, verbose=0)
        return weights(trainer)

    assert_same_weights(trained(1), trained(1))
    assert not np.array_equal(trained(1)["0.weight"], trained(2)["0.weight"])


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_same_bits_at_any_number_of_threads(threads):
    def trained(n):
        with pynn.threads(n):
            trainer = make()
            trainer.fit(blobs(), epochs=2, batch_size=32, verbose=0)
        return weights(trainer)

    assert_same_weights(trained(threads), trained(1))


def test_two_calls_are_one_longer_call():
    once, twice = make(), make()
    once.fit(blobs(), epochs=4, batch_size=16, verbose=0)
    twice.fit(blobs(), epochs=1, batch_size=16, verbose=0)
    twice.fit(blobs(), epochs=3, batch_size=16, verbose=0)
    assert_same_weights(weights(once), weights(twice))
    assert twice.history.column("epoch") == [1, 2, 3, 4]
    assert twice.history.column("loss") == once.history.column("loss")


def test_evaluate_predict_accuracy():
    x, y = blobs()
    trainer = make()
    trainer.fit((x, y), epochs=5, verbose=0)
    outputs = trainer.predict(x)
    assert isinstance(outputs, np.ndarray) and outputs.shape == (120, 3)
    np.testing.assert_array_equal(outputs, trainer.predict(x, batch_size=7))
    with pynn.no_grad():
        np.testing.assert_array_equal(outputs, trainer.model(x).numpy())
        loss = F.cross_entropy(trainer.model(x), y).item()
    accuracy = np.mean(outputs.argmax(1) == y)
    assert trainer.accuracy((x, y)) == accuracy
    result = trainer.evaluate((x, y), batch_size=50)
    assert result["accuracy"] == accuracy
    assert abs(result["loss"] - loss) <= 1e-6
    shuffled = Loader(x, y, 32, drop_last=True)
    assert trainer.evaluate(shuffled)["accuracy"] == accuracy
    np.testing.assert_array_equal(trainer.predict(shuffled), outputs)
    assert shuffled.epoch == 0


def test_predict_without_samples():
    assert make().predict(np.zeros((0, 2), np.float32)).shape == (0, 3)


def test_regression_has_no_accuracy():
    x, y = blobs()
    targets = np.eye(3, dtype=np.float32)[y]
    trainer = make(loss=F.mse_loss)
    history = trainer.fit((x, targets), epochs=1, validation=(x, targets), verbose=0)
    assert "val_loss" in history[0] and "val_accuracy" not in history[0]
    with pytest.raises(ValueError, match=r"accuracy: expected outputs \(N, classes\) and class indices"):
        trainer.accuracy((x, targets))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, np.bool_])
def test_inputs_come_to_the_dtype_of_the_model(dtype):
    x, y = blobs()
    x = (x > 0).astype(dtype)
    trainer = make()
    trainer.fit((x, y), verbose=0)
    np.testing.assert_array_equal(trainer.predict(x), trainer.predict(x.astype(np.float32)))


def test_float_targets_come_to_the_dtype_of_the_model():
    x, y = blobs()
    trainer = make(loss=F.mse_loss)
    targets = np.eye(3)[y]  # float64, as NumPy makes it
    trainer.fit((x, targets), validation=(x, targets.tolist()), verbose=0)
    assert trainer.evaluate((x, targets)) == trainer.evaluate((x, targets.astype(np.float32)))


@pytest.mark.parametrize("loss", ["cross_entropy", nn.CrossEntropyLoss, None])
def test_a_loss_that_cannot_be_called(loss):
    with pytest.raises(TypeError, match="Trainer: expected a function or a loss module as loss, got"):
        make(loss=loss)


def test_batches_of_no_samples_are_refused():
    for method in ("fit", "evaluate", "accuracy"):
        with pytest.raises(ValueError, match="expected a whole number >= 1 for batch_size, got 0"):
            getattr(make(), method)((X, Y), batch_size=0)
    with pytest.raises(ValueError, match="expected a whole number >= 1 for batch_size, got 0"):
        make().predict(X, batch_size=0)


def test_a_float64_model():
    x, y = blobs()
    trainer = make(model=nn.Sequential(nn.Linear(2, 3, dtype=np.float64)))
    trainer.fit((x, y), epochs=2, verbose=0)
    assert trainer.predict(x).dtype == np.float64
    trainer.fit(((x > 0).astype(np.uint8), y), verbose=0)


class Mode(nn.Module):
    """Notes in which mode it is called."""

    def __init__(self):
        self.seen = []

    def forward(self, input):
        self.seen.append(self.training)
        return input


def test_modes_are_set_and_restored():
    noting, frozen = Mode(), Mode()
    model = nn.Sequential(noting, frozen, nn.Linear(2, 3))
    frozen.eval()
    trainer = make(model=model)
    trainer.fit(blobs(), verbose=0, validation=blobs(), batch_size=120)
    assert noting.seen == [False, False, True, False]  # the checks of both data sets, training, validation
    assert (model.training, noting.training, frozen.training) == (True, True, False)
    model.eval()
    trainer.fit(blobs(), verbose=0)
    assert not model.training
    with pytest.raises(FloatingPointError):
        make(model=model, loss=lambda out, y: out.sum() * float("nan")).fit(blobs(), verbose=0)
    assert not model.training


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite(value):
    steps = []
    before = {}

    def loss(output, target):
        steps.append(1)
        result = F.cross_entropy(output, target)
        if len(steps) == 13:  # 8 steps an epoch
            before.update(weights(trainer))
            return result * value
        return result

    trainer = make(loss=loss)
    with pytest.raises(FloatingPointError, match=rf"loss is {value} in epoch 2, step 5"):
        trainer.fit(blobs(), epochs=3, batch_size=16, verbose=0)
    assert_same_weights(weights(trainer), before)
    assert len(trainer.history) == 1


def test_divergence_is_found():
    x, y = blobs()
    trainer = make(lr=1e38, loss=F.mse_loss)
    with pytest.raises(FloatingPointError, match="epoch 1, step"):
        trainer.fit((x, np.eye(3, dtype=np.float32)[y]), epochs=5, batch_size=16, verbose=0)


class InterruptingSGD(optim.SGD):
    """Ctrl-C in the middle of one update."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 10:
            os.kill(os.getpid(), signal.SIGINT)
        super().step(closure)


def test_ctrl_c_waits_for_the_end_of_an_update():
    trainer = make()
    trainer.optimizer = InterruptingSGD(trainer.model.parameters(), lr=0.1)
    history = trainer.fit(blobs(), epochs=5, batch_size=16, verbose=0)
    assert history.interrupted and len(history) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    x, y = blobs()
    by_hand = make()
    loader = Loader(x, y, 16)
    batches = [*loader, *loader][:10]
    for batch, labels in batches:
        by_hand.optimizer.zero_grad()
        F.cross_entropy(by_hand.model(batch), labels).backward()
        by_hand.optimizer.step()
    assert_same_weights(weights(trainer), weights(by_hand))


def test_ctrl_c_between_updates_ends_at_once():
    def callback(trainer, row):
        if row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    history = make().fit(blobs(), epochs=5, callbacks=[callback], verbose=0)
    assert history.interrupted and history.column("epoch") == [1, 2, 3]


def test_training_goes_on_after_ctrl_c():
    def callback(trainer, row):
        raise KeyboardInterrupt

    trainer = make()
    assert trainer.fit(blobs(), epochs=5, callbacks=[callback], verbose=0).interrupted
    history = trainer.fit(blobs(), epochs=2, verbose=0)
    assert not history.interrupted and history.column("epoch") == [1, 2, 3]


def test_other_threads_and_other_handlers_are_left_alone():
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        make().fit(blobs(), verbose=0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
    trainer = make()
    thread = threading.Thread(target=lambda: trainer.fit(blobs(), epochs=2, verbose=0))
    thread.start()
    thread.join()
    assert len(trainer.history) == 2


def test_a_callback_sees_each_row_and_may_stop():
    rows = []

    def callback(trainer, row):
        rows.append((len(trainer.history), row["epoch"]))
        return row["epoch"] == 2

    history = make().fit(blobs(), epochs=5, callbacks=[callback], verbose=0)
    assert rows == [(1, 1), (2, 2)] and len(history) == 2


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


X, Y = blobs()
BAD = {
    "lengths": ((X, Y[:-1]), ValueError, "expected as many targets as inputs, got 119 targets for 120 inputs"),
    "NaN": ((changed(X, (7, 1), np.nan), Y), ValueError, "fit: inputs: NaN or infinity in sample 7"),
    "infinity": ((changed(X, (0, 1), -np.inf), Y), ValueError, "fit: inputs: NaN or infinity in sample 0"),
    "both infinities": ((changed(X, slice(2, 4), [[np.inf], [-np.inf]]), Y), ValueError, "in sample 2"),
    "label too high": ((X, changed(Y, 5, 3)), ValueError, "expected labels 0 to 2 for 3 outputs, got 3 in sample 5"),
    "label negative": ((X, changed(Y, 5, -1)), ValueError, "expected labels 0 to 2 for 3 outputs, got -1 in sample 5"),
    "NaN target": ((X, changed(X, (3, 0), np.nan)), ValueError, "fit: targets: NaN or infinity in sample 3"),
    "no samples": ((X[:0], Y[:0]), ValueError, "expected at least one batch, got 0 samples"),
    "no targets": (Loader(X), ValueError, "expected a Loader with targets"),
    "inputs alone": (X, TypeError, r"expected \(inputs, targets\) or a Loader, got ndarray"),
    "text": ((np.array([["a"], ["b"]]), Y[:2]), TypeError, "expected inputs of numbers"),
    "text targets": ((X, Y.astype(str)), TypeError, "expected targets of numbers, got dtype str"),
    "features": ((X[:, :1], Y), ValueError, "2"),
}


@pytest.mark.parametrize("kind", BAD)
def test_data_that_cannot_be_trained_on(kind):
    data, error, message = BAD[kind]
    trainer = make()
    before = weights(trainer)
    with pytest.raises(error, match=message):
        trainer.fit(data, verbose=0)
    assert_same_weights(weights(trainer), before)


def test_large_finite_inputs_are_no_error():
    from pynn.train.checks import check_finite

    check_finite(pynn.tensor(np.full((4, 3), 3e38, np.float32)), "inputs")


def test_ignored_labels_are_allowed():
    make().fit((X, changed(Y, slice(0, 5), -100)), verbose=0)
    ignoring = make(loss=nn.CrossEntropyLoss(ignore_index=7))
    ignoring.fit((X, changed(Y, slice(0, 5), 7)), verbose=0)


@pytest.mark.parametrize("epochs", [-1, 1.5, True, "3"])
def test_bad_numbers_of_epochs(epochs):
    with pytest.raises(ValueError, match="fit: expected a number of epochs"):
        make().fit(blobs(), epochs=epochs)


def test_a_loader_has_its_own_batch_size():
    with pytest.raises(ValueError, match="leave out batch_size"):
        make().fit(Loader(X, Y), batch_size=3)


def test_one_line_an_epoch_where_stderr_is_no_terminal(capsys):
    make().fit(blobs(), epochs=3, validation=blobs())
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and len(lines) == 3
    assert lines[0].startswith("epoch 1/3  loss ") and "val_accuracy" in lines[0]


def test_silent_with_verbose_0_but_logged(capsys, caplog):
    with caplog.at_level(logging.INFO, "pynn.train"):
        make().fit(blobs(), epochs=2, verbose=0)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert len(caplog.records) == 2


class Terminal:
    def __init__(self):
        self.writes = []

    def isatty(self):
        return True

    def write(self, text):
        self.writes.append(text)

    def flush(self):
        pass


def test_one_rewritten_line_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    clock = iter(np.arange(0, 1000, 0.1))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    make().fit(blobs(), epochs=2, batch_size=4)  # 60 steps, one every 0.1 s
    *lines, end = terminal.writes
    assert end == "\n" and not any("\n" in line for line in lines)
    assert all(line.startswith("\r") and line.endswith("\x1b[K") for line in lines)
    assert 60 / 4 <= len(lines) <= 60 / 3 + 2  # 4 Hz would be every 2.5 steps
