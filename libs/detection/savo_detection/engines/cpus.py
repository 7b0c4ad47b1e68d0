"""CPU cores that this process may use (its affinity and the container's quota), and threads of lower priority."""

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
"""A thread of this niceness gets a tenth of the time of a normal thread on its core, and all of an idle core."""

T = TypeVar("T")


class _ThreadState(threading.local):
    normal_priority: Executor | None = None
    """A thread of normal priority; None while this thread has it itself."""


_thread_state = _ThreadState()


def usable_cpus(cgroups: Path = CGROUPS) -> int:
    """Number of cores that this process may use, at least 1. A quota of 1.5 cores counts as 2."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def lower_thread_priority() -> None:
    """Lower this thread's priority permanently (on Linux), and restrict ONNX Runtime's passes in it to one core.

    Call it once in a thread.
    """
    _thread_state.normal_priority = ThreadPoolExecutor(1, "usual-priority")
    # A thread inherits its parent's priority, so the executor's thread starts first.
    _thread_state.normal_priority.submit(int).result()
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A higher niceness is kept: only a privileged process may lower it.
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


def has_lower_priority() -> bool:
    """Whether `lower_thread_priority` was called in this thread."""
    return _thread_state.normal_priority is not None


def run_at_normal_priority(function: Callable[[], T]) -> T:
    """Call a function in a thread of normal priority, which the threads that it starts inherit."""
    executor = _thread_state.normal_priority
    return function() if executor is None else executor.submit(function).result()


def _quota(cgroups: Path) -> float | None:
    """Cores by cgroup v2's cpu.max or cgroup v1's cfs files; None without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            fields = " ".join((cgroups / name).read_text() for name in files).split()
        except OSError:
            continue
        if len(fields) == 2 and fields[0].isdigit() and int(fields[1]) > 0:
            quota, period = map(int, fields)
            return quota / period
    return None
