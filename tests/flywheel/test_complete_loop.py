"""The complete loop on both brokers: photos → samples → training → gate → rollout to 100 % → champion."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import httpx2
import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, new_client
from tests.parts.wheel import Wheel, objects_under, read_json, running_wheel

SAMPLES = 60
SCENES = 72
"""A few more than the samples of a training run: near-duplicates may be refused."""

ROLLOUT_WITHIN = 400.0
TRAINED_WITHIN = 400.0

# A fast loop: one epoch, no quality gate, a stand-in without errors. The test shows that each stage leads to the next;
# the quality of models is for the gates' own tests and `make demo`.
SETTINGS = {
    "SAVO_TRAINING_THRESHOLD": str(SAMPLES),
    "SAVO_TRAIN_EPOCHS": "1",
    "SAVO_TRAIN_IMGSZ": "64",
    "SAVO_TRAIN_DEVICE": "cpu",
    "SAVO_GATE_MAP50": "0",
    "SAVO_GATE_MAP50_LOWER": "0",
    "SAVO_ROLLOUT_MIN_CONFIRMED": "3",
    "SAVO_ROLLOUT_MIN_DAYS_PER_STEP": "0",
    "SAVO_ROLLOUT_ALPHA": "0.5",
    "SAVO_ROLLOUT_MIN_ACCURACY": "0.2",
    "SAVO_ROLLOUT_MAX_CORRECTION_RATE": "0.9",
    "SAVO_ROLLOUT_MAX_P95_MS": "30000",
    "SAVO_RATE_LIMIT_PER_MINUTE": "0",
}

PEOPLE = count()

pytestmark = [pytest.mark.slow(130), pytest.mark.torch, pytest.mark.timeout(1200)]


# `make demo` runs the embedded loop at length, so here it is part of `make test-real` only.
@pytest.mark.parametrize(
    "broker", [pytest.param("embedded", marks=pytest.mark.real), pytest.param("kafka", marks=pytest.mark.kafka)]
)
async def test_photos_become_samples_and_a_model_that_takes_all_traffic(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    arguments = ["--kafka", request.getfixturevalue("own_kafka").bootstrap_servers] if broker == "kafka" else []
    scenes = list(draw_scenes(SCENES, seed=5))
    write_scenes(tmp_path / "truth", scenes)
    no_errors = [f"--standin-option={part}" for option in ("--miss", "--wrong", "--errors") for part in (option, "0")]
    with running_wheel(
        tmp_path / "savo", tmp_path / "truth", SETTINGS, *arguments, *no_errors, latency_scale=0.02
    ) as wheel:
        async with new_client(wheel.url) as client:
            simulated_users = SimulatedUsers(client, random.Random(5), at_once=6)
            outcomes: list[ScanOutcome] = []
            await simulated_users.run(uploads(scenes), outcomes.append, until=lambda: samples(wheel) >= SAMPLES)
            registered = await wait_for_model(client, wheel)
            assert registered["version"] == "v1"
            shares = await complete_rollout(simulated_users, client, scenes, outcomes)
            assert shares == [0.05, 0.25, 0.5, 1.0]
            after = [await simulated_users.scan_and_confirm(upload) for upload in take(uploads(scenes), 3)]
            assert all(outcome.confirmed and outcome.experiment is None for outcome in after)
        assert all(outcome.confirmed or outcome.refused for outcome in outcomes)
        assert any(outcome.arm == "candidate" and outcome.experiment == "v1" for outcome in outcomes)
        assert read_json(wheel.data_dir / "objects/models/ingredients/aliases/champion.json")["version"] == "v1"
        assert_model_is_complete(wheel.data_dir)


def uploads(scenes: list[Scene], consent: bool | None = None) -> Iterator[Upload]:
    """The scenes again and again, each time by another user: evidence counts people rather than scans."""
    for number, scene in zip(PEOPLE, cycle(scenes), strict=False):
        yield Upload(f"user-{number}", scene.jpeg, scene.truth, consent=consent)


def take(source: Iterator[Upload], count: int) -> Iterator[Upload]:
    for _, upload in zip(range(count), source, strict=False):
        yield upload


def samples(wheel: Wheel) -> int:
    return len(objects_under(wheel.data_dir, "samples/meta"))


async def wait_for_model(client: httpx2.AsyncClient, wheel: Wheel) -> dict[str, Any]:
    deadline = time.monotonic() + TRAINED_WITHIN
    while time.monotonic() < deadline:
        rollout = await rollout_now(client)
        if rollout.get("candidate"):
            candidate: dict[str, Any] = rollout["candidate"]
            return candidate
        await asyncio.sleep(0.5)  # often enough, without taking cores from the training
    raise AssertionError(f"no model in {TRAINED_WITHIN:g} s; the trainer's log:\n{wheel.last_lines('trainer')}")


async def complete_rollout(
    simulated_users: SimulatedUsers, client: httpx2.AsyncClient, scenes: list[Scene], outcomes: list[ScanOutcome]
) -> list[float]:
    """Send traffic until the rollout is completed. Returns its shares in order."""
    deadline = time.monotonic() + ROLLOUT_WITHIN
    source = uploads(scenes, consent=False)  # evidence only: no more samples
    rollout: dict[str, Any] = {}
    while time.monotonic() < deadline:
        await simulated_users.run(take(source, 30), outcomes.append)
        rollout = await rollout_now(client)
        if rollout["state"] == "completed":
            return [step["share"] for step in reversed(rollout["history"]) if step["state"] == "running"]
    raise AssertionError(
        f"the rollout did not complete in {ROLLOUT_WITHIN:g} s: {json.dumps(rollout, indent=1)[:3000]}"
    )


async def rollout_now(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/admin/rollout")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def assert_model_is_complete(data_dir: Path) -> None:
    names = {path.name for path in objects_under(data_dir, "models/ingredients/v1")}
    assert names - {"model.plain.onnx"} == {"model.onnx", "weights.pt", "card.md", "report.json", "classes.json"}
    report = read_json(data_dir / "objects/models/ingredients/v1/report.json")
    assert ("model.plain.onnx" in names) == (report["plain_onnx_sha256"] is not None), report["optimization"]
    manifest = (data_dir / f"objects/datasets/{report['dataset_version']}/manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["split"] for line in manifest} == {"train", "val", "test"}
