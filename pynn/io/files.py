"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well.

    It is written under a temporary name in the same folder, flushed to the disk and renamed; after an error, OSError of
    a full disk included, `path` is as it was and the temporary file is gone. A link stays and what it points to is
    replaced; a file that was there leaves its owner, as far as allowed, and its permissions to the new one, and is not
    touched where it is read-only (PermissionError). A device or a pipe (`is_stream`) is written to as it is.
    """
    name, target = str(Path(path)), Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if is_stream(path):
            with open(path, "wb") as file:
                yield file
            return
        before = _state(target)
        mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
        try:
            with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
                yield file
                file.flush()
                if before is not None:
                    with contextlib.suppress(PermissionError):  # only root gives files away
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):  # of a folder that is a file, say; the first error tells
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary), str(target)):
            raise
        raise OSError(error.errno, error.strerror, name) from None


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a device, a pipe or a socket, which has no content that could be replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete temporary files for `path` whose processes on this machine were killed while they wrote."""
    path = Path(os.path.realpath(path))
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = temporary.name[len(path.name) + 2 : -len(".tmp")]
        if number.isascii() and number.isdigit() and not _is_running(int(number)):
            with contextlib.suppress(OSError):
                temporary.unlink()


def _state(target: Path) -> os.stat_result | None:
    """The state of a file that may be replaced, or None where there is no file; OSError where it may not."""
    try:
        state = os.stat(target)
    except FileNotFoundError:
        return None
    if not (os.access(target, os.W_OK) and state.st_mode & 0o222):  # root may write to what is read-only
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return state


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True
