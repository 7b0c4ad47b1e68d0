"""Processes that `savo up` keeps alive: started in their own session, logged to a file, started again when they die."""

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

__all__ = ["GaveUpError", "ProcessSpec", "SupervisedProcess"]

QUICK_DEATH_SECONDS = 10.0
MOST_QUICK_DEATHS = 5
STOP_SECONDS = 20.0
FIRST_PAUSE_SECONDS = 0.2
LAST_LINES = 5
MOST_LOG_BYTES = 20_000_000
"""A log that is longer becomes `<name>.log.1` and begins anew: both together are all the disk that it ever takes."""

_PR_SET_PDEATHSIG = 1


class GaveUpError(Exception):
    """A process died again and again right after its start."""

    def __init__(self, name: str, code: int | None, last_lines: Sequence[str], log: Path) -> None:
        output = "\n".join(f"  {line}" for line in last_lines) or "  (it printed nothing)"
        super().__init__(f"{name} ends at once with exit code {code}; it said:\n{output}\nall of it is in {log}")
        self.name = name


@dataclass(frozen=True)
class ProcessSpec:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    fatal_codes: frozenset[int] = frozenset({2})
    """Exit codes by which it says that trying again is of no use: 2 is a setting that makes no sense."""
    echo: bool = False
    """Its lines go to our standard output too: a host's own log is made of that."""


class SupervisedProcess:
    """One process and its successors."""

    def __init__(self, spec: ProcessSpec, report: Callable[[str], None]) -> None:
        self.spec = spec
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._stopping = False

    async def run(self) -> None:
        """Until `stop`. Raises `GaveUpError` when it says that it cannot work, or dies five times in a row within ten seconds."""
        clock = asyncio.get_running_loop().time
        quick = 0
        while True:
            started = clock()
            code = await self._once()
            if self._stopping:
                return
            quick = quick + 1 if clock() - started < QUICK_DEATH_SECONDS else 0
            if code in self.spec.fatal_codes or quick >= MOST_QUICK_DEATHS:
                raise GaveUpError(self.spec.name, code, tuple(self._lines), self.spec.log)
            self._report(f"{self.spec.name} ended with {_ending(code)} and is started again")
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**quick)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is still there after twenty seconds."""
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

    async def _once(self) -> int:
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
        # By chunks: a line may be longer than asyncio's line limit.
        while chunk := await process.stdout.read(65536):
            self._keep(chunk)
        return await process.wait()

    def _keep(self, chunk: bytes) -> None:
        self._lines.extend(line for line in chunk.decode(errors="replace").splitlines() if line.strip())
        if self.spec.echo:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        with self.spec.log.open("ab", buffering=0) as log:
            log.write(chunk)
            length = log.tell()
        if length > MOST_LOG_BYTES:
            self.spec.log.replace(self.spec.log.with_name(f"{self.spec.log.name}.1"))


def _end_with_parent() -> None:
    """On Linux a killed `savo up` takes its services with it; they could not go on without the broker inside it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
