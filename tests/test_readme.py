"""README's Python blocks run, in order, as one program a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from processes import run_python

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not README.is_file(), reason="needs the source tree")
def test_python_blocks_run(tmp_path):
    blocks = BLOCK.findall(README.read_text())
    assert blocks, "README.md has no ```python block"
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks))
    run = run_python(program)
    assert run.returncode == 0, run.stderr
