"""The command line as the tests of tests/cli call it: each command in a process of its own."""

import os
import struct
import subprocess
import sys

PYNN = (sys.executable, "-m", "pynn")


def run(*arguments, **environment):
    return subprocess.run(
        [*PYNN, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MPLBACKEND": "agg", **environment},
    )


def train(out, *arguments, **environment):
    return run("train", "--out", out, *arguments, **environment)


def assert_one_line_error(result, *parts, status=2):
    assert result.returncode == status, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("pynn: ")
    for part in parts:
        assert part in line


def write_idx(path, images):
    path.write_bytes(struct.pack(f">{1 + images.ndim}I", 0x800 + images.ndim, *images.shape) + images.tobytes())
    return path
