"""Settings of glibc's malloc that return freed memory to the operating system.

By default glibc keeps freed memory in arenas of each thread, and photos are decoded on many threads.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["return_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt (malloc.h)."""
_THRESHOLD_BYTES = 4 * 2**20
"""Larger blocks are mapped and unmapped one by one: right for decoded photos, too slow for the small blocks of a scan.

glibc's own threshold starts at 128 kB and grows up to 32 MB.
"""
_ARENAS = 2

_MALLOC_VARIABLES = frozenset(
    {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"}
)


def return_freed_memory() -> bool:
    """Configure malloc for the whole process; must be called before threads start.

    Returns False without glibc, or when the environment configures malloc already. `savo up --one-process`, where
    memory matters more than time, sets glibc's own 128 kB there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or _MALLOC_VARIABLES & os.environ.keys():
        return False
    options = {_MMAP_THRESHOLD: _THRESHOLD_BYTES, _TRIM_THRESHOLD: _THRESHOLD_BYTES, _ARENA_MAX: _ARENAS}
    return all(mallopt(name, value) for name, value in options.items())
