"""Training subprocess: events, end with all children, recognition after a crash. Tests run a small fake program."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from pydantic import AliasChoices, SecretStr

from savo_runtime.settings import RuntimeSettings, installed_settings
from savo_trainer.adapters.local_runner import LocalRunner, environment
from savo_trainer.adapters.processes import ProcessRecord, end_group, is_ours, read_process_record, write_process_record
from savo_trainer.errors import RunImpossibleError, TrainingCrashedError
from savo_trainer.runs.run import Progress
from savo_trainer.training.plan import Export, TrainPlan

PLAN = TrainPlan("yolov8n.yaml", 2, 4, 64, "cpu", None, 0, {})

SUCCEEDING = """
import json, sys
send = lambda **fields: print(json.dumps(fields), flush=True)
send(event="started", pid=1)
print("not JSON at all", flush=True)
send(event="epoch", epoch=1, epochs=2, losses={"box_loss": 2.0}, map50=None, seconds=1.0)
send(event="epoch", epoch=2, epochs=2, losses={"box_loss": 1.0}, map50=0.5, seconds=2.0)
send(event="trained", weights="best.pt")
send(event="exported", onnx="best.onnx", plain="best.plain.onnx", reason=None, opset=17)
send(event="validated", kind="pt", map50=0.61)
send(event="validated", kind="onnx", map50=0.60)
send(event="done")
"""
HANGING = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("child.pid", "w").write(str(child.pid))
print('{"event": "epoch", "epoch": 1, "epochs": 2, "losses": {}, "map50": null, "seconds": 1}', flush=True)
time.sleep(600)
"""


@pytest.fixture
def runner_of(tmp_path: Path) -> Callable[[str], LocalRunner]:
    def make(code: str) -> LocalRunner:
        program = tmp_path / "program.py"
        program.write_text(code, encoding="utf-8")
        return LocalRunner(grace_seconds=0.2, program=(sys.executable, str(program)))

    return make


class ProgressRecorder:
    def __init__(self) -> None:
        self.received: list[Progress] = []
        self.first = asyncio.Event()

    async def __call__(self, progress: Progress) -> None:
        self.received.append(progress)
        self.first.set()


async def test_epochs_are_reported_as_they_finish_and_figures_are_returned(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    recorder = ProgressRecorder()
    trained = await runner_of(SUCCEEDING).train(PLAN, tmp_path / "data.yaml", tmp_path / "run", recorder)
    assert [progress.epoch for progress in recorder.received] == [1, 2]
    assert (trained.weights_map50, trained.export_map50) == (0.61, 0.60)
    assert trained.export == Export(Path("best.onnx"), Path("best.plain.onnx"))


async def test_the_reason_for_a_plain_export_is_returned(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    program = SUCCEEDING.replace(
        'plain="best.plain.onnx", reason=None', 'plain=None, reason="its optimised graph finds other boxes"'
    )
    trained = await runner_of(program).train(PLAN, tmp_path / "data.yaml", tmp_path / "run", ProgressRecorder())
    assert trained.export == Export(Path("best.onnx"), None, "its optimised graph finds other boxes")


async def test_a_program_that_fails_is_reported_with_its_own_reason(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    program = """print('{"event": "failed", "reason": "train: no images found"}', flush=True); raise SystemExit(1)"""
    with pytest.raises(TrainingCrashedError, match="no images found"):
        await runner_of(program).train(PLAN, tmp_path / "data.yaml", tmp_path / "run", ProgressRecorder())


async def test_a_killed_program_is_reported_with_its_signal_and_last_line(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    program = "import os, sys; print('Killed for memory', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    with pytest.raises(TrainingCrashedError, match="ended by signal SIGKILL: Killed for memory"):
        await runner_of(program).train(PLAN, tmp_path / "data.yaml", tmp_path / "run", ProgressRecorder())


async def test_missing_libraries_make_a_run_impossible_and_are_no_crash(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    with pytest.raises(RunImpossibleError) as refused:
        await runner_of("raise SystemExit(3)").train(PLAN, tmp_path / "data.yaml", tmp_path / "run", ProgressRecorder())
    assert "uv sync --extra yolo" in refused.value.next_steps[0]


async def test_a_stopped_trainer_ends_the_program_and_its_children(
    runner_of: Callable[[str], LocalRunner], tmp_path: Path
) -> None:
    recorder = ProgressRecorder()
    work = asyncio.create_task(runner_of(HANGING).train(PLAN, tmp_path / "data.yaml", tmp_path / "run", recorder))
    await recorder.first.wait()
    record = read_process_record(tmp_path / "run")
    child = int((tmp_path / "run" / "child.pid").read_text(encoding="utf-8"))
    assert record is not None
    assert is_ours(record)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not is_ours(record)
    assert await has_ended(child)


async def test_the_next_trainer_ends_the_process_of_a_crashed_one(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    left = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", str(job), start_new_session=True
    )
    record = ProcessRecord(left.pid, str(job))
    async with asyncio.timeout(60):
        while not is_ours(record):  # a new process has no command line for a moment
            await asyncio.sleep(0.01)
    write_process_record(tmp_path, record)
    stop = asyncio.create_task(LocalRunner(grace_seconds=5).stop_stale(tmp_path))
    assert await left.wait() != 0
    await stop


async def test_another_process_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", start_new_session=True
    )
    write_process_record(tmp_path, ProcessRecord(other.pid, str(tmp_path / "job.json")))
    await LocalRunner(grace_seconds=0.1).stop_stale(tmp_path)
    assert other.returncode is None
    await end_group(other.pid, 5, other)


def test_the_program_gets_no_secret_and_no_network_to_install_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {variable for cls in installed_settings().values() for variable in secret_variables(cls)}
    assert {"R2_SECRET_ACCESS_KEY", "GOOGLE_API_KEY", "SAVO_DATABASE_URL"} <= secrets
    for variable in (*secrets, "R2_ACCESS_KEY_ID"):
        monkeypatch.setenv(variable, "secret-value")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    passed = environment(tmp_path)
    assert "secret-value" not in passed.values()
    assert passed["HTTPS_PROXY"] == "http://proxy"
    assert (passed["YOLO_AUTOINSTALL"], passed["YOLO_OFFLINE"], passed["ULTRALYTICS_SAFE_LOAD"]) == (
        "False",
        "True",
        "true",
    )
    assert passed["YOLO_CONFIG_DIR"].startswith(str(tmp_path))


def secret_variables(cls: type[RuntimeSettings]) -> set[str]:
    """Environment variables of the settings that are typed as secrets."""
    aliases = [
        info.validation_alias
        for info in cls.model_fields.values()
        if SecretStr in (info.annotation, *get_args(info.annotation))
    ]
    return {str(name) for alias in aliases for name in (alias.choices if isinstance(alias, AliasChoices) else [alias])}


async def has_ended(pid: int) -> bool:
    """A zombie counts as ended: init reaps a killed grandchild a moment later."""
    async with asyncio.timeout(60):
        while True:
            try:
                os.kill(pid, 0)
                if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8"):
                    return True
            except (ProcessLookupError, FileNotFoundError):
                return True
            await asyncio.sleep(0.02)
