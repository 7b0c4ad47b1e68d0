"""Memory that is freed goes back to the machine: glibc alone keeps it for each thread, and photos come and go on many."""

from __future__ import annotations

import ctypes
import os

__all__ = ["return_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""mallopt's numbers (malloc.h)."""
_BYTES = 4 * 2**20
"""Larger pieces are the machine's own pages, which come one by one and go at once: right for decoded photos, slow for all that a scan needs in between.
glibc begins at 128 kB and goes up to 32 MB by itself."""
_ARENAS = 2

_SET_BY_HAND = frozenset({"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"})


def return_freed_memory() -> bool:
    """For the whole process, before its threads start. False where there is no glibc, or the environment already says what malloc is to do.

    Where memory is scarcer than time (`savo up --one-process`), the environment sets glibc's own 128 kB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or _SET_BY_HAND & os.environ.keys():
        return False
    return all(
        mallopt(name, value)
        for name, value in ((_MMAP_THRESHOLD, _BYTES), (_TRIM_THRESHOLD, _BYTES), (_ARENA_MAX, _ARENAS))
    )
