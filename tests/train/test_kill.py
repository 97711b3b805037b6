"""SIGKILL at any moment, and what is left."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pynn import io

KILLS = 200

# An epoch is 16 batches in groups of 2; a checkpoint every 3 updates, so that each process that lives a little gets on.
PROGRAM = """
import os, sys
import numpy as np
import pynn
from pynn import nn, optim
from pynn.optim import lr_scheduler
from pynn.train import Callback, Checkpoint, CSVLogger, EarlyStopping, Schedule, Trainer
from training import Noise, blobs

folder, epochs = sys.argv[1], 150
pynn.manual_seed(1)
model = nn.Sequential(nn.Linear(2, 30), nn.Tanh(), Noise(), nn.Linear(30, 3))
optimizer = optim.Adam(model.parameters(), lr=1e-4)
trainer = Trainer(model, optimizer, nn.functional.cross_entropy, accumulate=2, clip_grad_norm=0.1)
path = os.path.join(folder, "checkpoint")
callbacks = [
    Schedule(lr_scheduler.OneCycleLR(optimizer, 1e-3, epochs=epochs, steps_per_epoch=8), every="step"),
    EarlyStopping(patience=epochs),
    CSVLogger(os.path.join(folder, "log")),
]
if "--whole" not in sys.argv:
    callbacks.append(Checkpoint(path, every_steps=3))
print("ready", flush=True)
resume = path if os.path.exists(path) else None
trainer.fit(blobs(250), epochs, 16, blobs(50, 1), callbacks, verbose=0, resume=resume)
pynn.io.save_weights(os.path.join(folder, "model"), model.state_dict())
"""


def start(folder, *arguments):
    folder.mkdir(exist_ok=True)
    search = os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).parent.parent)])
    command = [sys.executable, "-c", PROGRAM, str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": search})


def results(folder):
    """The bytes of the weights, and the log without the seconds."""
    lines = (folder / "log").read_text().splitlines()
    return (folder / "model").read_bytes(), [line.rpartition(",")[0] for line in lines]


@pytest.mark.slow
def test_killed_two_hundred_times(tmp_path):
    with start(tmp_path / "whole", "--whole") as process:
        process.stdout.read()
    assert process.returncode == 0
    expected = results(tmp_path / "whole")
    assert len(expected[1]) == 151

    draw, kills, read = random.Random(0), 0, 0
    folder, finished = tmp_path / "0", 0
    while kills < KILLS or process.returncode != 0:
        with start(folder) as process:
            assert process.stdout.readline() == b"ready\n"
            try:
                process.wait(draw.uniform(0, 0.15) if kills < KILLS else None)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.returncode == 0:  # and again from the beginning, until there were enough kills
            assert results(folder) == expected
            assert not [p for p in folder.iterdir() if p.name.startswith(".checkpoint")]
            finished += 1
            folder = tmp_path / str(finished)
            continue
        assert process.returncode == -signal.SIGKILL
        kills += 1
        if (folder / "checkpoint").exists():
            io.load_checkpoint(folder / "checkpoint")  # whole at any moment
            read += 1
    assert kills == KILLS and read >= KILLS // 2
