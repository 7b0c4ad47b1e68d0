"""How many cores this process may really use (its affinity, cut by the container's quota), and threads that leave them to others."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

__all__ = ["at_usual_priority", "give_way", "gives_way", "usable_cpus"]

CGROUPS = Path("/sys/fs/cgroup")
_NICENESS = 10
"""A tenth of the time of a thread that wants the same core, all of a core that nobody wants."""

T = TypeVar("T")


class _Here(threading.local):
    helper: Executor | None = None


_here = _Here()


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """At least 1. A quota of 1.5 cores counts as 2: a half-used thread is better than a half-used core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def give_way() -> None:
    """For good: this thread takes what others leave of a core (on Linux); ONNX Runtime's passes in it take no other. Once in a thread."""
    _here.helper = ThreadPoolExecutor(1, "usual-priority")
    _here.helper.submit(int).result()  # a thread is born as patient as its parent, so this one is born now
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Who is nicer already stays so: being less nice is a privilege.
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def gives_way() -> bool:
    return _here.helper is not None


def at_usual_priority(act: Callable[[], T]) -> T:
    """For what starts threads that stay: they would give way for good, as this one does."""
    return act() if _here.helper is None else _here.helper.submit(act).result()


def _quota(cgroups: Path) -> float | None:
    """Cores by cgroup v2's cpu.max, or v1's cfs files; None without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroups / name).read_text() for name in files).split()
        except OSError:
            continue
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            return int(words[0]) / int(words[1])
    return None
