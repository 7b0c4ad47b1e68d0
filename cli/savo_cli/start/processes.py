"""Supervised processes of `savo up`: each has its own session and log file, and is restarted when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ProcessFailedError", "ProcessSpec", "SupervisedProcess"]

SHORT_RUN_SECONDS = 10.0
MAX_FAILED_STARTS = 5
STOP_SECONDS = 20.0
FIRST_PAUSE_SECONDS = 0.2
LAST_LINES = 5
MAX_LOG_BYTES = 20_000_000
"""A longer log is renamed to `<name>.log.1`, which replaces an earlier one: a process has at most these two files."""

_PR_SET_PDEATHSIG = 1


class ProcessFailedError(Exception):
    """A process ended right after each of its starts, or reported that it cannot work."""

    def __init__(self, name: str, code: int | None, last_lines: Sequence[str], log: Path) -> None:
        output = "\n".join(f"  {line}" for line in last_lines) or "  (no output)"
        super().__init__(f"{name} ends right after its start with exit code {code}:\n{output}\nsee {log}")
        self.name = name


@dataclass(frozen=True)
class ProcessSpec:
    """How to start a process, and where its output goes."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    fatal_codes: frozenset[int] = frozenset({2})
    """Exit codes after which a restart cannot help. 2 is an invalid setting."""
    echo: bool = False
    """Copy its output to standard output too, which hosting platforms collect as the log."""


class SupervisedProcess:
    """A process that is restarted when it ends. `report` receives a line for each restart."""

    def __init__(self, spec: ProcessSpec, report: Callable[[str], None]) -> None:
        self.spec = spec
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._stopping = False
        self._was_ready = False

    def mark_ready(self) -> None:
        """From now on, only runs of less than ten seconds count as failed starts."""
        self._was_ready = True

    async def run(self) -> None:
        """Run until `stop`.

        Raises `ProcessFailedError` after a fatal exit code, or after five failed starts in a row: runs that end before
        `mark_ready`, however long the start takes on a busy machine, or within ten seconds.
        """
        clock = asyncio.get_running_loop().time
        failed_starts = 0
        while True:
            started = clock()
            code = await self._run_once()
            if self._stopping:
                return
            is_failed = not self._was_ready or clock() - started < SHORT_RUN_SECONDS
            failed_starts = failed_starts + 1 if is_failed else 0
            if code in self.spec.fatal_codes or failed_starts >= MAX_FAILED_STARTS:
                raise ProcessFailedError(self.spec.name, code, tuple(self._lines), self.spec.log)
            reason = f": {self._lines[-1].strip()}" if self._lines else ""
            self._report(f"{self.spec.name} ended with {_ending(code)} and is restarted{reason}")
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**failed_starts)

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process still runs after twenty seconds."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._report(f"{self.spec.name} did not stop within {STOP_SECONDS:g} s and is killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run_once(self) -> int:
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = process = await asyncio.create_subprocess_exec(
            *self.spec.command,
            env=dict(self.spec.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        assert process.stdout is not None
        # In chunks, because a line may exceed asyncio's line limit.
        while chunk := await process.stdout.read(65536):
            self._record_output(chunk)
        return await process.wait()

    def _record_output(self, chunk: bytes) -> None:
        self._lines.extend(line for line in chunk.decode(errors="replace").splitlines() if line.strip())
        if self.spec.echo:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        with self.spec.log.open("ab", buffering=0) as log:
            log.write(chunk)
            length = log.tell()
        if length > MAX_LOG_BYTES:
            self.spec.log.replace(self.spec.log.with_name(f"{self.spec.log.name}.1"))


def _end_with_parent() -> None:
    """On Linux, end the services of a killed `savo up`: they cannot work without its embedded broker."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
