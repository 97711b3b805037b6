"""Arrays that end, or begin, exactly at a page that may not be touched: one element outside crashes the process."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def guarded(array: np.ndarray, at: str = "end") -> np.ndarray:
    """A copy of `array` in C order whose memory ends (`at="end"`) or begins (`at="begin"`) at a forbidden page.

    Any read or write beyond that end of it kills the process with SIGSEGV; run the code under test in a process of its
    own, or trust that a crash is a failure.
    """
    size = -(-max(array.nbytes, 1) // _PAGE) * _PAGE
    memory = mmap.mmap(-1, size + 2 * _PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (address, address + _PAGE + size):
        if _libc.mprotect(guard, _PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = _PAGE if at == "begin" else _PAGE + size - array.nbytes
    out = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    out[...] = array
    return out


def guarded_transposed(array: np.ndarray, at: str = "end") -> np.ndarray:
    """As `guarded`, transposed in memory: the last axis but one is the one without gaps."""
    return guarded(np.ascontiguousarray(array.swapaxes(-1, -2)), at).swapaxes(-1, -2)
