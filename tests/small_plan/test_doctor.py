"""Doctor: for three faults in a running product, `savo doctor` reports the cause and the next step."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import SimulatedUsers, Upload, new_client
from tests.parts.wheel import Wheel, running_wheel

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]

TIMEOUT_SECONDS = 200.0
SCENES = list(draw_scenes(30, seed=61))


@contextmanager
def product(folder: Path, settings: Mapping[str, str], *arguments: str) -> Iterator[Wheel]:
    write_scenes(folder / "truth", SCENES)
    no_errors = [
        f"--standin-option={argument}" for option in ("--miss", "--wrong", "--errors") for argument in (option, "0")
    ]
    with running_wheel(
        folder / "savo", folder / "truth", settings, *no_errors, *arguments, latency_scale=0.02
    ) as wheel:
        yield wheel


async def confirm(wheel: Wheel, scenes: list[Scene]) -> None:
    async with new_client(wheel.url) as client:
        errands = (Upload(f"user-{number}", scene.jpeg, scene.truth) for number, scene in enumerate(scenes))
        await SimulatedUsers(client, random.Random(1), at_once=4).run(errands, lambda _: None)


def findings(wheel: Wheel) -> tuple[int, dict[str, dict[str, Any]]]:
    environment = os.environ | {"SAVO_DATA_DIR": str(wheel.data_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "savo_cli", "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, {finding["what"]: finding for finding in json.loads(done.stdout)}


async def wait_for_state(wheel: Wheel, what: str, *states: str) -> tuple[int, dict[str, Any]]:
    """Wait for a state of a finding. Confirmations are processed after their answer."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        code, found = await asyncio.to_thread(findings, wheel)
        if what in found and found[what]["state"] in states:
            return code, found[what]
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.5)


async def test_the_doctor_finds_that_no_data_is_collected(tmp_path: Path) -> None:
    with product(tmp_path, {"SAVO_COLLECT_TRAINING_DATA": "false"}, "--one-process") as wheel:
        await confirm(wheel, SCENES[:2])
        code, data = await wait_for_state(wheel, "data", "wrong")
    assert code == 1
    assert "SAVO_COLLECT_TRAINING_DATA is false" in data["found"]
    assert "SAVO_COLLECT_TRAINING_DATA=true" in data["fix"]


async def test_the_doctor_finds_a_full_storage(tmp_path: Path) -> None:
    # Enough for four photos and three samples: in a folder both count.
    limit_bytes = 1.75 * sum(len(scene.jpeg) for scene in SCENES[:4])
    with product(tmp_path, {"SAVO_STORAGE_LIMIT_GB": f"{limit_bytes / 1e9:.9f}"}, "--one-process") as wheel:
        await confirm(wheel, SCENES[:4])
        code, storage = await wait_for_state(wheel, "storage", "wrong")
    assert code == 1
    assert "refused because storage was full" in storage["found"]
    assert "SAVO_STORAGE_LIMIT_GB" in storage["fix"]


@pytest.mark.torch
async def test_the_doctor_finds_slow_training(tmp_path: Path) -> None:
    slow = {
        "SAVO_TRAINING_THRESHOLD": "24",
        "SAVO_TRAIN_EPOCHS": "10000",
        "SAVO_TRAIN_IMGSZ": "160",
        "SAVO_TRAIN_DEVICE": "cpu",
    }
    with product(tmp_path, slow) as wheel:
        await confirm(wheel, SCENES)
        _, training = await wait_for_state(wheel, "training run", "note")
    assert "h to go" in training["found"]
    assert "SAVO_TRAIN_DEVICE=0" in training["fix"]
