"""Composition root, Kafka handlers, HTTP API and settings of the trainer service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from savo_contracts.envelope import Envelope, ImageRef
from savo_contracts.samples import SampleErased, SampleStored, Split
from savo_runtime.settings import load_settings
from savo_runtime.testing import assert_migrations_match
from savo_trainer.adapters.http import runs_app
from savo_trainer.adapters.tables import Base
from savo_trainer.app import DEFINITION, build, training_policy
from savo_trainer.handlers import on_sample_erased, on_sample_stored, on_threshold_reached
from savo_trainer.settings import TrainerSettings
from services.trainer.tests.trainer_fakes import NOON, Harness, open_harness, store_samples, threshold

SHA = "ab" * 32


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path / "runs") as built:
        yield built


def stored(revision: int = 1, **changes: object) -> SampleStored:
    sample = SampleStored(
        sha256=SHA,
        scan_id="scan-1",
        subject="subject-1",
        image=ImageRef(key=f"samples/images/{SHA}.jpg", sha256=SHA, bytes=10, width=10, height=10),
        split=Split.TRAIN,
        labels={"tomato": revision},
        edited=False,
        revision=revision,
        stored_at=NOON,
    )
    return sample.model_copy(update=changes)


async def test_migrations_create_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_trainer.migrations", Base.metadata)


async def test_the_service_consumes_three_topics_and_has_a_run_worker(harness: Harness, tmp_path: Path) -> None:
    service = build(TrainerSettings(data_dir=tmp_path), harness.runtime)
    assert [subscription.topic.name for subscription in service.subscriptions] == [
        "training.threshold-reached",
        "samples.stored",
        "samples.erased",
    ]
    assert [worker.name for worker in service.workers] == ["runs"]
    assert DEFINITION.migrations == "savo_trainer.migrations"


async def test_a_threshold_event_requests_one_run_and_the_handler_returns_at_once(
    harness: Harness, tmp_path: Path
) -> None:
    subscription = build(TrainerSettings(data_dir=tmp_path), harness.runtime).subscriptions[0]
    envelope = Envelope.new(threshold(), "collector")
    assert await subscription.handle(envelope) is None
    assert await subscription.handle(envelope) is None
    (run,) = await harness.run_store.newest(10)
    assert (run.state, run.event_id) == ("queued", envelope.id)


async def test_the_newest_revision_of_a_sample_is_kept_in_any_order_of_events(harness: Harness) -> None:
    for revision in (2, 1, 3):
        await on_sample_stored(stored(revision), harness.samples)
    (sample,) = [sample async for sample in harness.samples.in_dataset("ingredients")]
    assert (sample.revision, sample.labels, sample.labels_key) == (3, {"tomato": 3}, f"samples/labels/{SHA}.txt")


async def test_replay_does_not_restore_an_erased_sample(harness: Harness) -> None:
    await on_sample_stored(stored(), harness.samples)
    erased = SampleErased(sha256=SHA, scan_id="scan-1", subject="subject-1", erased_at=NOON + timedelta(hours=1))
    await on_sample_erased(erased, harness.samples, harness.labels)
    await on_sample_stored(stored(2), harness.samples)
    assert [sample async for sample in harness.samples.in_dataset("ingredients")] == []


async def test_a_photo_that_is_stored_again_after_its_erasure_is_a_sample(harness: Harness) -> None:
    await on_sample_erased(
        SampleErased(sha256=SHA, scan_id="scan-1", subject="subject-1", erased_at=NOON),
        harness.samples,
        harness.labels,
    )
    await on_sample_stored(stored(stored_at=NOON + timedelta(days=1)), harness.samples)
    assert len([sample async for sample in harness.samples.in_dataset("ingredients")]) == 1


async def test_the_http_api_lists_and_shows_runs(harness: Harness) -> None:
    await store_samples(harness.store, harness.samples)
    run = await harness.request()
    await harness.work()
    transport = httpx2.ASGITransport(app=runs_app(harness.run_store))
    async with httpx2.AsyncClient(transport=transport, base_url="http://trainer") as client:
        (listed,) = (await client.get("/runs")).json()["runs"]
        shown = (await client.get(f"/runs/{run.id}")).json()
        missing = await client.get("/runs/run-unknown")
    assert (listed["state"], listed["progress"]["epoch"], listed["facts"]["version"]) == ("registered", 1, "v1")
    assert [entry["after"] for entry in shown["history"]] == [
        "queued",
        "preparing",
        "training",
        "evaluating",
        "registered",
    ]
    assert (missing.status_code, missing.json()["code"]) == (404, "run-unknown")


def test_settings_become_the_training_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_TRAIN_EXTRA", '{"mosaic": 0.5}')
    monkeypatch.setenv("SAVO_TRAIN_IMGSZ", "160")
    monkeypatch.setenv("SAVO_TRAIN_WIDTH", "0.125")
    policy = training_policy(load_settings(TrainerSettings))
    assert (policy.image_size, policy.width, policy.epochs, policy.extra) == (160, 0.125, 100, {"mosaic": 0.5})
    assert replace(policy, extra={}) == replace(
        training_policy(TrainerSettings(train_imgsz=160, train_width=0.125)), extra={}
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAVO_TRAINER_RUNNER", "ray"),
        ("SAVO_TRAIN_IMGSZ", "100"),
        ("SAVO_TRAIN_DEVICE", "gpu"),
        ("SAVO_TRAIN_MODEL", "yolov8n"),
        ("SAVO_TRAIN_EXTRA", "mosaic"),
    ],
)
def test_an_invalid_setting_stops_the_start_with_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings(TrainerSettings)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert variable in line


async def test_a_replayed_threshold_event_requests_no_run(harness: Harness) -> None:
    await on_threshold_reached(threshold(), harness.run_store, uuid4(), replay="r-1")
    assert await harness.run_store.newest(10) == []
    await on_threshold_reached(threshold(), harness.run_store, uuid4(), replay=None)
    assert len(await harness.run_store.newest(10)) == 1
