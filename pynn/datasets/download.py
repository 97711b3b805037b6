"""Downloads that are checked before they are kept."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from ..io import replacing

TIMEOUT = 30  # seconds without a byte
_MOST_BYTES = 64 << 20  # the largest file, Fashion-MNIST's training images, has 26 MB


def download(name: str, mirrors: tuple[str, ...], checksum: str, folder: Path) -> Path:
    """Fetch `name`.gz from the first mirror that has it, as `folder`/`name`.gz.

    `checksum` is the SHA-256 of the content when not compressed, so that a mirror may compress as it likes. Raises
    OSError that tells of each mirror, or that the folder cannot be written.
    """
    from http.client import HTTPException  # with urllib 40 ms of import that only a download needs
    from urllib.request import urlopen

    path = folder / f"{name}.gz"
    failures = []
    for mirror in mirrors:
        url = f"{mirror}{name}.gz"
        try:
            with urlopen(url, timeout=TIMEOUT) as response:
                data = response.read(_MOST_BYTES)
            found = hashlib.sha256(gzip.decompress(data)).hexdigest()
        except (OSError, EOFError, HTTPException, zlib.error) as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        if found != checksum:
            failures.append(f"{url}: expected content of SHA-256 {checksum}, found {found}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
        return path
    raise OSError(f"cannot download {', '.join(failures)}")
