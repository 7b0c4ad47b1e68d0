"""Training in a subprocess of this machine, with its own process group: its events are read line by line.

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
LOG_FILE = "yolo.log"
"""Output of the program on stderr, in the folder of its own files."""
MISSING_LIBRARIES = 3
"""Exit status of the program when torch or ultralytics is not installed."""
LINE_LIMIT = 1 << 20


@dataclass
class _ProgramReport:
    """What the training program has reported so far."""

    weights: Path | None = None
    export: Export | None = None
    map50: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    done: bool = False


@dataclass(frozen=True)
class LocalRunner:
    """Runs the training program `savo_trainer.yolo` and ends it with all its children."""

    grace_seconds: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
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
        """Train, export and validate. Weights are written to <output>/<name>/weights, by default under `folder`.

        `folder` also holds the program's own files: job, log, settings, caches.
        Raises `TrainingCrashedError`, and `RunImpossibleError` when the libraries are not installed.
        """
        job = _write_job(folder, _job(plan, data, output or folder, name) | {"holdout": holdout})
        started = time.monotonic()
        report = await self._run(job, folder, on_progress)
        if report.weights is None or report.export is None:
            raise TrainingCrashedError(f"the program wrote no weights or no ONNX file; see {folder / LOG_FILE}")
        return Trained(
            report.weights, report.export, report.map50.get("pt"), report.map50.get("onnx"), time.monotonic() - started
        )

    async def export(self, weights: Path, image_size: int, folder: Path) -> Export:
        """Export weights to ONNX files beside them. `folder` holds the program's own files."""
        plan = TrainPlan(str(weights), 1, 1, image_size, "cpu", None, 0, {})
        job = _write_job(folder, _job(plan, folder, folder, NAME) | {"export_weights": str(weights)})
        report = await self._run(job, folder, _ignore_progress, steps=("export",))
        if report.export is None:
            raise TrainingCrashedError(f"the program wrote no ONNX file; see {folder / LOG_FILE}")
        return report.export

    async def stop_stale(self, folder: Path) -> None:
        """Ends only a process that runs the training program on this folder: the pid may have been reused."""
        record = read_process_record(folder)
        if record and is_ours(record):
            await end_group(record.pid, self.grace_seconds)
            log.warning("training.stale_process_ended", pid=record.pid, folder=str(folder))

    async def _run(
        self, job: Path, folder: Path, on_progress: OnProgress, *, steps: Sequence[str] = STEPS
    ) -> _ProgramReport:
        with (folder / LOG_FILE).open("ab") as errors:
            process = await self._start(job, folder, errors, steps)
            write_process_record(folder, ProcessRecord(process.pid, str(job)))
            try:
                report = await _read_output(process, on_progress)
                status = await process.wait()
            finally:
                if process.returncode is None:
                    await asyncio.shield(end_group(process.pid, self.grace_seconds, process))
        _check(status, report, folder)
        return report

    async def _start(
        self, job: Path, folder: Path, errors: IO[bytes], steps: Sequence[str]
    ) -> asyncio.subprocess.Process:
        # Standard input stays open and unused. When the trainer dies, the program reads its end and exits.
        return await asyncio.create_subprocess_exec(
            *self.program, *steps, "--job", str(job),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
            env=environment(folder), cwd=folder, start_new_session=True, limit=LINE_LIMIT,
        )  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """Environment of the program: offline, no installation at run time, pickles by allow-list, caches in the folder.

    Settings of the product's services are withheld, secrets included: the job file has all that the program needs.
    """
    fixed = {
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
    return {name: value for name, value in os.environ.items() if name not in withheld} | fixed


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _ignore_progress(_: Progress) -> None:
    return None


async def _read_output(process: asyncio.subprocess.Process, on_progress: OnProgress) -> _ProgramReport:
    report = _ProgramReport()
    async for event in _events(process):
        match event.get("event"):
            case "epoch":
                fields = ("epoch", "epochs", "losses", "map50", "seconds")
                await on_progress(Progress(**{key: event[key] for key in fields}))
            case "trained":
                report.weights = Path(event["weights"])
            case "exported":
                plain = event.get("plain")
                report.export = Export(Path(event["onnx"]), Path(plain) if plain else None, event.get("reason"))
            case "validated":
                report.map50[event["kind"]] = float(event["map50"])
            case "failed":
                report.failure = str(event["reason"])
            case "done":
                report.done = True
    return report


async def _events(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        try:
            yield json.loads(line)
        except ValueError:
            log.warning("training.unreadable_line", line=line[:200].decode(errors="replace"))


def _check(status: int, report: _ProgramReport, folder: Path) -> None:
    if status == 0 and report.done:
        return
    reason = report.failure or _last_output(folder / LOG_FILE, status)
    if status == MISSING_LIBRARIES:
        raise RunImpossibleError(
            reason, ("Install them with `uv sync --extra yolo` on the trainer's machine, then start a run again.",)
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
