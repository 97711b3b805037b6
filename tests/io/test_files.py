"""Files that appear whole or not at all, and what is at their place before."""

import errno
import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import pynn
from pynn import io, nn
from pynn.io.files import remove_leftovers
from pynn.train import Callback, Checkpoint, CSVLogger, JSONLogger
from training import blobs, trainer


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError, match="no space"), io.replacing(path) as file:
        file.write(b"half")
        raise OSError("no space")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with io.replacing(tmp_path / "new"):
        pass
    assert os.stat(tmp_path / "new").st_mode == os.stat(tmp_path / "usual").st_mode


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "w", tmp_path / "file" / "w", tmp_path / "folder"):
        with pytest.raises(OSError) as caught:
            io.save_weights(path, {"w": np.zeros(2)})
        assert str(caught.value).endswith(f": '{path}'")


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    stays = {f".c.{os.getpid()}.tmp", ".c.x.tmp", ".c..tmp", f".d.{gone.pid}.tmp", "c", f"c.{gone.pid}.tmp"}
    for name in (*stays, f".c.{gone.pid}.tmp", f".c.{10**30}.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "c")
    assert {p.name for p in tmp_path.iterdir()} == stays


def save(path):
    pynn.save(nn.Linear(2, 3), path)


def log(logger):
    return lambda path: trainer().fit(blobs(), 1, callbacks=[logger(path)], verbose=0)


WRITERS = {"save": save, "csv": log(CSVLogger), "json": log(JSONLogger), "checkpoint": log(Checkpoint)}
every_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@every_writer
def test_a_link_stays_and_its_file_is_replaced(write, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("before")
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "dangling").symlink_to("folder/new")
    for link in ("link", "dangling"):
        write(tmp_path / link)
        assert (tmp_path / link).is_symlink()
    for name in ("file", "new"):
        assert len((tmp_path / "folder" / name).read_bytes()) > 20
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "link", "dangling"}
    assert {p.name for p in (tmp_path / "folder").iterdir()} == {"file", "new"}


@every_writer
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_permissions_stay(write, mode, tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.stat().st_size


def test_what_is_private_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o600)
    with io.replacing(path):
        (temporary,) = tmp_path.glob(".file.*.tmp")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path):
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 12345, 54321)
    save(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


@every_writer
def test_a_read_only_file_is_refused(write, tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    path.chmod(0o444)
    with pytest.raises(PermissionError) as caught:
        write(path)
    assert caught.value.filename == str(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def read_from(fifo, write):
    """What arrives at the other end of a named pipe, which has to be one after that, too."""
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    write(fifo)
    reader.join(60)
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    return read[0]


def test_a_pipe_is_written_to(tmp_path):
    model = nn.Linear(2, 3)
    pynn.save(model, tmp_path / "file")
    assert read_from(tmp_path / "pipe", lambda path: pynn.save(model, path)) == (tmp_path / "file").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"file", "pipe"}


class NewColumn(Callback):
    def on_epoch_end(self, trainer, row):
        if row["epoch"] == 2:
            row["new"] = 1


def test_a_log_into_a_pipe(tmp_path):
    """Opened once: a reader takes the end of a pipe for the end of the log."""
    trained = trainer()
    read = read_from(
        tmp_path / "pipe",
        lambda path: trained.fit(blobs(), 2, callbacks=[NewColumn(), CSVLogger(path)], verbose=0),
    ).decode()
    rows = [line.split(",")[0] for line in read.splitlines()]
    assert rows == ["epoch", "1", "epoch", "1", "2"] and read.endswith(trained.history.to_csv())


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as caught, io.replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}: '{tmp_path / 'file'}'"
    assert not list(tmp_path.iterdir())


def test_leftovers_beside_the_file_of_a_link_are_removed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    (tmp_path / "folder" / f".file.{10**30}.tmp").touch()
    remove_leftovers(tmp_path / "link")
    assert not list((tmp_path / "folder").iterdir())
