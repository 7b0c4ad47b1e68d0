"""Process groups that we started: marked in a file, recognised after a crash, ended whole."""

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
    """The leader of a process group, and what its command line must hold to be ours."""

    pid: int
    argument: str


def write_process_record(folder: Path, mark: ProcessRecord) -> None:
    (folder / FILE).write_text(json.dumps(asdict(mark)), encoding="utf-8")


def read_process_record(folder: Path) -> ProcessRecord | None:
    try:
        return ProcessRecord(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_ours(mark: ProcessRecord) -> bool:
    """Whether the process lives and its command line names our job file: a path that holds the run's id."""
    return mark.argument in _command_of(mark.pid)


def _command_of(pid: int) -> str:
    """Empty when there is no such process. Linux has /proc where slim images have no `ps`; macOS is the other way round."""
    if PROC.exists():
        try:
            return (PROC / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
        except OSError:
            return ""
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


async def end_group(leader: int, grace_seconds: float, process: asyncio.subprocess.Process | None = None) -> None:
    """Ask the whole group to end, then end it. Returns when the leader is gone."""
    for how, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, grace_seconds)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, how)
        if await _gone(leader, patience, process):
            break
    # The leader may have gone before its children did.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


async def _gone(leader: int, patience: float, process: asyncio.subprocess.Process | None) -> bool:
    """Our own child is waited for; another's can only be looked at."""
    try:
        async with asyncio.timeout(patience):
            await (process.wait() if process is not None else _wait_for_end(leader))
    except TimeoutError:
        return False
    return True


async def _wait_for_end(pid: int) -> None:
    """Nothing announces the end of a process that is not our child: look for it."""
    while _is_alive(pid):  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
