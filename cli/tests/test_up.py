"""`savo up` with real processes: its start, a scan, a restarted service and its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from savo_cli.start import processes
from savo_cli.start.preflight import locked_data_folder, wrong_model_path
from savo_cli.start.processes import ProcessFailedError, ProcessSpec, SupervisedProcess
from savo_runtime.errors import FatalError

START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def savo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SAVO_DATA_DIR": str(folder / "data")}
    return subprocess.run(
        [sys.executable, "-m", "savo_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
        cwd=folder,
    )


def until(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    assert savo(folder, "synthesize", "--count", "3", "--output", "truth").returncode == 0
    arguments = ["up", "--port", str(free_port()), "--standin", "truth", "--standin-option=--latency-scale=0.05"]
    environment = os.environ | {"SAVO_DATA_DIR": str(folder / "data"), "SAVO_COLLECT_TRAINING_DATA": "true"}
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "savo_cli", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
        )
    try:
        until(
            lambda: "savo is up" in (folder / "up.log").read_text() or process.poll() is not None,
            START_SECONDS,
            "the start",
        )
        assert process.poll() is None, (folder / "up.log").read_text()
        yield process
    finally:
        process.terminate()
        process.wait(60)


def up_file(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "data/run/up.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_one_line_shows_the_address_and_what_is_not_for_production(folder: Path) -> None:
    lines = [line for line in (folder / "up.log").read_text().splitlines() if line.startswith("savo is up")]
    assert len(lines) == 1
    for text in (up_file(folder)["gateway_url"], "SAVO_COLLECT_TRAINING_DATA=true", "in memory", "a stand-in answers"):
        assert text in lines[0]


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_a_photo_is_scanned_and_confirmed_and_its_events_are_on_the_topics(folder: Path) -> None:
    scanned = savo(
        folder, "scan", *map(str, sorted((folder / "truth/images").iterdir())[:1]), "--json", "--user", "anna"
    )
    assert scanned.returncode == 0, scanned.stderr
    scan_id = json.loads(scanned.stdout)["scan_id"]
    assert savo(folder, "confirm", scan_id, "--all-correct").returncode == 0
    record = json.loads(
        savo(folder, "topics", "tail", "scans.confirmed", "--from-start", "--limit", "1", "--json").stdout
    )
    assert (record["key"], record["event"]["scan_id"]) == (scan_id, scan_id)
    assert json.loads(savo(folder, "rollout", "show", "--json").stdout)["state"] == "idle"


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_a_killed_service_is_restarted(folder: Path) -> None:
    file = folder / "data/run/reasoning.json"
    first = json.loads(file.read_text())
    os.kill(first["pid"], signal.SIGKILL)
    second = until(
        lambda: (now := json.loads(file.read_text()))["pid"] != first["pid"] and now, START_SECONDS, "the new start"
    )
    until(lambda: httpx2.get(f"{second['url']}/livez", trust_env=False).is_success, 30, "an answer")
    assert "reasoning ended with signal SIGKILL and is restarted" in (folder / "up.log").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("running")
def test_a_second_up_does_not_change_the_folder_of_the_first(folder: Path) -> None:
    before = sorted((folder / "data/run").iterdir())
    refused = savo(folder, "up", "--port", str(free_port()), "--standin", "truth")
    assert refused.returncode == 1
    assert f"is in use by a running `savo up` (pid {up_file(folder)['pid']})" in refused.stdout + refused.stderr
    assert sorted((folder / "data/run").iterdir()) == before


@pytest.mark.slow
def test_sigterm_stops_every_process_and_exits_with_0(running: subprocess.Popen[str], folder: Path) -> None:
    here = up_file(folder)
    port = here["gateway_url"].rpartition(":")[2]
    refused = savo(folder, "up", "--port", port, "--data-dir", "elsewhere")
    assert refused.returncode == 1
    assert f"port {port} is in use" in refused.stdout + refused.stderr
    pids = [
        json.loads(file.read_text())["pid"] for file in (folder / "data/run").glob("*.json") if file.name != "up.json"
    ]
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert not (folder / "data/run/up.json").exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_production_refuses_the_embedded_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_ENV", "production")
    refused = savo(tmp_path, "up", "--port", str(free_port()), "--standin", str(tmp_path))
    assert refused.returncode == 2
    assert "production" in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "SAVO_VISION_PROVIDER",
            "google",
            "GOOGLE_API_KEY is missing for SAVO_VISION_PROVIDER=google: set GOOGLE_API_KEY, or start with a stand-in",
        ),
        (
            "SAVO_COLLECT_TRAINING_DATA",
            "yep",
            "SAVO_COLLECT_TRAINING_DATA='yep' makes no sense: allowed is true or false",
        ),
        ("SAVO_TRAIN_IMGSZ", "33", "SAVO_TRAIN_IMGSZ='33' makes no sense: allowed is a multiple of 32 from 32 to 4096"),
        (
            "SAVO_GOALS_STARTED_AT",
            "yesterday",
            "SAVO_GOALS_STARTED_AT='yesterday' makes no sense: allowed is a time with its zone, "
            "such as 2026-11-24T00:00:00Z",
        ),
    ],
)
def test_an_invalid_setting_stops_the_start_in_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, line: str
) -> None:
    for name in ("GOOGLE_API_KEY", "SAVO_GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    refused = savo(tmp_path, "up", "--port", str(free_port()))
    output = (refused.stdout + refused.stderr).strip()
    assert (refused.returncode, len(output.splitlines())) == (2, 1)
    assert line in output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("nowhere.onnx", "SAVO_CUSTOM_VISION_MODEL_PATH='nowhere.onnx' makes no sense: there is no file"),
        (
            "best.pt",
            "SAVO_CUSTOM_VISION_MODEL_PATH='best.pt' is a PyTorch checkpoint, which is never loaded, "
            "and best.onnx does not exist; run:",
        ),
    ],
)
def test_a_missing_model_file_stops_the_start_if_custom_vision_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, line: str
) -> None:
    (tmp_path / "best.pt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
    monkeypatch.setenv("SAVO_USE_CUSTOM_VISION", "true")
    monkeypatch.setenv("SAVO_CUSTOM_VISION_MODEL_PATH", value)
    refused = savo(tmp_path, "up", "--port", str(free_port()))
    output = (refused.stdout + refused.stderr).strip()
    assert (refused.returncode, len(output.splitlines())) == (2, 1)
    assert line in output
    assert not (tmp_path / "data").exists()
    assert wrong_model_path({"SAVO_USE_CUSTOM_VISION": "false", "SAVO_CUSTOM_VISION_MODEL_PATH": value}) == ""
    (tmp_path / value).with_suffix(".onnx").touch()
    assert wrong_model_path({"SAVO_USE_CUSTOM_VISION": "true", "SAVO_CUSTOM_VISION_MODEL_PATH": value}) == ""
    assert (
        wrong_model_path(
            {"SAVO_USE_CUSTOM_VISION": "true", "SAVO_CUSTOM_VISION_MODEL_PATH": "models:/ingredients@champion"}
        )
        == ""
    )


def test_an_unusable_data_folder_is_named_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(
        FatalError,
        match=r"the data folder .*taken/data cannot be used \(Not a directory\), or choose another with --data-dir",
    ):
        lock(tmp_path / "taken/data")


def test_an_unusable_subfolder_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "db").touch()
    with pytest.raises(FatalError, match=r"the data folder .*/db cannot be used \(File exists\), or choose another"):
        lock(tmp_path)


def test_a_data_folder_is_unlocked_when_its_savo_up_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with locked_data_folder(tmp_path):
            assert (tmp_path / "up.lock").read_text() == str(os.getpid())


def lock(folder: Path) -> None:
    with locked_data_folder(folder):
        pass


async def test_a_fatal_exit_code_stops_restarts_and_shows_the_last_lines(tmp_path: Path) -> None:
    script = "print('no key, no work'); raise SystemExit(2)"
    spec = ProcessSpec("vision", (sys.executable, "-c", script), os.environ, tmp_path / "vision.log")
    with pytest.raises(ProcessFailedError, match="no key, no work"):
        await asyncio.wait_for(SupervisedProcess(spec, print).run(), 60)


async def test_a_process_that_fails_five_times_in_a_row_is_not_restarted(tmp_path: Path) -> None:
    spec = ProcessSpec("vision", (sys.executable, "-c", "raise SystemExit(1)"), os.environ, tmp_path / "vision.log")
    reported: list[str] = []
    with pytest.raises(ProcessFailedError, match="exit code 1"):
        await asyncio.wait_for(SupervisedProcess(spec, reported.append).run(), 60)
    assert len(reported) == 4, "each restart is reported"


async def test_a_slow_start_that_fails_counts_until_the_process_was_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SHORT_RUN_SECONDS", 0.0)
    monkeypatch.setattr(processes, "FIRST_PAUSE_SECONDS", 0.0)
    script = "print('the folder has no photos'); raise SystemExit(1)"
    spec = ProcessSpec("stand-in", (sys.executable, "-c", script), os.environ, tmp_path / "stand-in.log")
    reported: list[str] = []
    with pytest.raises(ProcessFailedError, match="the folder has no photos"):
        await asyncio.wait_for(SupervisedProcess(spec, reported.append).run(), 60)
    assert reported == ["stand-in ended with exit code 1 and is restarted: the folder has no photos"] * 4


def test_a_folder_without_class_names_stops_the_start_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "truth/images").mkdir(parents=True)
    started = time.monotonic()
    refused = savo(tmp_path, "up", "--port", str(free_port()), "--standin", "truth")
    assert refused.returncode == 1
    output = refused.stdout + refused.stderr
    assert "truth has no class names: add a classes.txt" in output
    assert "restarted" not in output
    assert time.monotonic() - started < START_SECONDS
