"""Process groups of the trainer: recorded in a file, recognised after a crash, ended with all children."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ProcessRecord", "end_group", "is_ours", "read_process_record", "write_process_record"]

FILE = "process.json"
POLL_SECONDS = 0.1
PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessRecord:
    """Leader of a process group, and the text that identifies its command line."""

    pid: int
    argument: str


def write_process_record(folder: Path, record: ProcessRecord) -> None:
    (folder / FILE).write_text(json.dumps(asdict(record)), encoding="utf-8")


def read_process_record(folder: Path) -> ProcessRecord | None:
    try:
        return ProcessRecord(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_ours(record: ProcessRecord) -> bool:
    """Whether the process runs with the recorded argument: the path of a job file, which has the run's id."""
    return record.argument in _command_line(record.pid)


def _command_line(pid: int) -> str:
    """Empty when there is no such process. Slim Linux images have /proc and no `ps`; macOS has `ps` and no /proc."""
    if PROC.exists():
        try:
            return (PROC / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            return ""
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


async def end_group(leader: int, grace_seconds: float, process: asyncio.subprocess.Process | None = None) -> None:
    """End the group by SIGTERM, then by SIGKILL. Returns when the leader has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        if await _has_ended(leader, grace_seconds, process):
            break
    # The leader may have ended before its children.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


async def _has_ended(leader: int, timeout: float, process: asyncio.subprocess.Process | None) -> bool:
    """Whether the leader ends within the timeout. A child process is waited for, any other is polled."""
    try:
        async with asyncio.timeout(timeout):
            await (process.wait() if process is not None else _wait_for_end(leader))
    except TimeoutError:
        return False
    return True


async def _wait_for_end(pid: int) -> None:
    """Polls, because only the parent of a process is notified of its end."""
    while _is_alive(pid):  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
