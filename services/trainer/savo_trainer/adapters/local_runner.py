"""Training in a subprocess of this machine: started in its own process group, heard line by line, ended with all its children.

The service itself never imports torch or ultralytics (AGPL-3.0); see docs/decisions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import structlog

from savo_runtime.settings import service_variables
from savo_trainer.adapters.processes import ProcessRecord, end_group, is_ours, read_process_record, write_process_record
from savo_trainer.errors import RunImpossibleError, TrainingCrashedError
from savo_trainer.ports import OnProgress
from savo_trainer.runs.run import Progress
from savo_trainer.training.plan import Export, Trained, TrainPlan

__all__ = ["LocalRunner"]

log = structlog.get_logger()

STEPS = ("train", "export", "validate")
NAME = "yolo"
MISSING_LIBRARIES = 3
"""Exit status of the program when torch or ultralytics is not installed."""
LINE_LIMIT = 1 << 20


@dataclass
class _ProgramOutput:
    """What the program said so far."""

    weights: Path | None = None
    export: Export | None = None
    map50: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    done: bool = False


@dataclass(frozen=True)
class LocalRunner:
    grace_seconds: float = 10.0
    """Between asking the program to end and ending it."""
    program: tuple[str, ...] = (sys.executable, "-m", "savo_trainer.yolo")

    async def train(
        self,
        plan: TrainPlan,
        data: Path,
        folder: Path,
        on_progress: OnProgress,
        *,
        output: Path | None = None,
        name: str = NAME,
        holdout: str = "test",
    ) -> Trained:
        """Weights come to <output>/<name>/weights; `folder` is for the program's own files, and for the weights without `output`.

        Raises `TrainingCrashedError`, and `RunImpossibleError` when the libraries are not installed.
        """
        job = _write_job(folder, _job(plan, data, output or folder, name) | {"holdout": holdout})
        started = time.monotonic()
        heard = await self._run(job, folder, on_progress)
        if heard.weights is None or heard.export is None:
            raise TrainingCrashedError("it ended without weights and an ONNX file")
        return Trained(
            heard.weights, heard.export, heard.map50.get("pt"), heard.map50.get("onnx"), time.monotonic() - started
        )

    async def export(self, weights: Path, image_size: int, folder: Path) -> Export:
        """The ONNX files, beside the weights. `folder` is for the program's own files."""
        plan = TrainPlan(str(weights), 1, 1, image_size, "cpu", None, 0, {})
        job = _write_job(folder, _job(plan, folder, folder, NAME) | {"target": str(weights)})
        heard = await self._run(job, folder, _ignore_progress, steps=("export",))
        if heard.export is None:
            raise TrainingCrashedError("it ended without an ONNX file")
        return heard.export

    async def stop_stale(self, folder: Path) -> None:
        """Only a process that still runs our program on this very folder is ended: a pid alone may be anybody's by now."""
        mark = read_process_record(folder)
        if mark and is_ours(mark):
            log.warning("training.stale_process_ended", pid=mark.pid)
            await end_group(mark.pid, self.grace_seconds)

    async def _run(
        self, job: Path, folder: Path, on_progress: OnProgress, *, steps: Sequence[str] = STEPS
    ) -> _ProgramOutput:
        with (folder / "yolo.log").open("ab") as errors:
            process = await self._start(job, folder, errors, steps)
            write_process_record(folder, ProcessRecord(process.pid, str(job)))
            try:
                heard = await _read_output(process, on_progress)
                status = await process.wait()
            finally:
                if process.returncode is None:
                    await asyncio.shield(end_group(process.pid, self.grace_seconds, process))
        _check(status, heard, folder)
        return heard

    async def _start(
        self, job: Path, folder: Path, errors: IO[bytes], steps: Sequence[str]
    ) -> asyncio.subprocess.Process:
        # Standard input is held open and never written to: when we die, however hard, the program reads its end and ends itself.
        return await asyncio.create_subprocess_exec(
            *self.program, *steps, "--job", str(job),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=environment(folder), cwd=folder, start_new_session=True, limit=LINE_LIMIT,
        )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """Offline, nothing installed at run time, pickles by allow-list, settings and caches in the run's folder.

    No variable of our own services is passed on, so no secret either: the program's job file says all that it needs.
    """
    ours = {
        "YOLO_AUTOINSTALL": "False",
        "YOLO_OFFLINE": "True",
        "YOLO_CONFIG_DIR": str(folder / "settings"),
        "ULTRALYTICS_SAFE_LOAD": "true",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(folder / "settings" / "matplotlib"),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads())),
    }
    withheld = service_variables()
    return {name: value for name, value in os.environ.items() if name not in withheld} | ours


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _ignore_progress(_: Progress) -> None:
    return None


async def _read_output(process: asyncio.subprocess.Process, on_progress: OnProgress) -> _ProgramOutput:
    heard = _ProgramOutput()
    async for said in _events(process):
        match said.get("event"):
            case "epoch":
                await on_progress(
                    Progress(**{key: said[key] for key in ("epoch", "epochs", "losses", "map50", "seconds")})
                )
            case "trained":
                heard.weights = Path(said["weights"])
            case "exported":
                plain = said.get("plain")
                heard.export = Export(Path(said["onnx"]), Path(plain) if plain else None, said.get("reason"))
            case "validated":
                heard.map50[said["kind"]] = float(said["map50"])
            case "failed":
                heard.failure = str(said["reason"])
            case "done":
                heard.done = True
    return heard


async def _events(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        try:
            yield json.loads(line)
        except ValueError:
            log.warning("training.unreadable_line", line=line[:200].decode(errors="replace"))


def _check(status: int, heard: _ProgramOutput, folder: Path) -> None:
    if status == 0 and heard.done:
        return
    reason = heard.failure or _last_output(folder / "yolo.log", status)
    if status == MISSING_LIBRARIES:
        raise RunImpossibleError(
            reason, ("Install them with `uv sync --extra yolo` on the machine of the trainer, then start a run again.",)
        )
    raise TrainingCrashedError(reason)


def _last_output(path: Path, status: int) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        tail = [line.strip() for line in deque(file, 5) if line.strip()]
    ended = f"ended by signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"{ended}: {tail[-1][:300]}" if tail else ended


def _write_job(folder: Path, job: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "job.json"
    target.write_text(json.dumps(job), encoding="utf-8")
    return target


def _job(plan: TrainPlan, data: Path, output: Path, name: str) -> dict[str, Any]:
    chosen = asdict(plan)
    start = chosen.pop("start")
    return chosen | {
        "folder": str(output),
        "name": name,
        "data": str(data),
        "threads": threads(),
        "weights": str(start["weights"]) if start else None,
    }
