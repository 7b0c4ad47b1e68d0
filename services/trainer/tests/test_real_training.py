"""A real training with ultralytics, as small as possible: samples, training, export, measurement, registry."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest

from savo_contracts.documents import CLASSES_KEY, model_key
from savo_contracts.samples import Split
from savo_detection.detector import Detector
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.models.evaluation import measure
from savo_trainer.runs.run import State
from savo_trainer.training.plan import TrainPolicy
from services.trainer.tests.trainer_fakes import NAMES, Harness, class_list, make_champion, open_harness, store_sample

COLOURS = ((40, 40, 210), (40, 220, 240), (205, 225, 240))
TINY = TrainPolicy(
    epochs=2, batch=4, image_size=64, device="cpu", width=0.0625, extra={"val": False, "nbs": 4, "optimizer": "AdamW"}
)

pytestmark = [
    pytest.mark.real,
    pytest.mark.torch,
    pytest.mark.slow(90),
    pytest.mark.skipif(
        importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed (uv sync --extra yolo)"
    ),
]


def photo_of(number: int) -> bytes:
    """A coloured disc on a grey background. The label is its box."""
    picture = np.full((96, 96, 3), 90 + number % 40, np.uint8)
    cv2.circle(picture, (48, 48), 24, COLOURS[number % len(COLOURS)], -1)
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


async def store_photos(harness: Harness) -> None:
    await harness.store.put(CLASSES_KEY, class_list().model_dump_json().encode())
    for number, split in enumerate([Split.TRAIN] * 12 + [Split.VAL] * 3 + [Split.TEST] * 6):
        await harness.samples.record(
            await store_sample(
                harness.store, number, split, f"{number % len(NAMES)} 0.5 0.5 0.5 0.5\n", photo_of(number)
            )
        )


async def test_samples_become_a_served_model_and_the_next_training_starts_from_its_weights(tmp_path: Path) -> None:
    async with open_harness(tmp_path / "runs") as harness:
        await store_photos(harness)
        stages = replace(harness.worker.stages, training=TINY, runner=LocalRunner(), measure=measure)
        harness = replace(harness, worker=replace(harness.worker, stages=stages))
        first = await harness.request(1)
        await harness.work()
        judged = await harness.state_of(first)
        assert judged.state is State.REJECTED, judged.reasons
        assert judged.progress is not None
        assert judged.progress.epoch == 2
        assert judged.facts.weights_map50 == pytest.approx(judged.facts.export_map50, abs=0.005)
        plain = harness.store.objects[model_key("v1", "model.plain.onnx")]
        detector = Detector.load(
            harness.store.objects[model_key("v1", "model.onnx")], expected_sha256=judged.facts.onnx_sha256
        )
        assert detector.classes == NAMES
        assert (judged.facts.plain_onnx_sha256, detector.version_info.plain_sha256) == (
            sha256(plain).hexdigest(),
            sha256(plain).hexdigest(),
        )
        assert detector.image_size == (64, 64)

        await make_champion(harness)
        second = await harness.request(2)
        await harness.work()
        tuned = await harness.state_of(second)
        assert tuned.facts.started_from == "v1"
        assert tuned.facts.comparison is not None
        assert "fine-tuned from v1" in harness.store.objects[model_key("v2", "card.md")].decode()
