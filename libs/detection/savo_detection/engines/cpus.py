"""How many cores this process may use (its affinity, cut by the container's quota), and threads of lower priority."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

__all__ = ["has_lower_priority", "lower_thread_priority", "run_at_normal_priority", "usable_cpus"]

CGROUPS = Path("/sys/fs/cgroup")
_NICENESS = 10
"""A thread so nice gets a tenth of the time of another on the same core, and all of an idle core."""

T = TypeVar("T")


class _Here(threading.local):
    helper: Executor | None = None


_here = _Here()


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """At least 1. A quota of 1.5 cores counts as 2: a half-used thread is better than a half-used core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def lower_thread_priority() -> None:
    """Lower this thread's priority for good (on Linux), and let ONNX Runtime's passes in it take one core alone.

    Once in a thread.
    """
    _here.helper = ThreadPoolExecutor(1, "usual-priority")
    _here.helper.submit(int).result()  # a thread inherits its parent's priority, so this one is started before
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A nicer thread stays as it is: only a privileged process may raise a priority.
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def has_lower_priority() -> bool:
    return _here.helper is not None


def run_at_normal_priority(act: Callable[[], T]) -> T:
    """Run it in a thread of usual priority: threads that it starts would inherit this one's for good."""
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
