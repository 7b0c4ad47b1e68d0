"""`savo replay --model`: recorded scans through another model, on a real broker, with a model of constant output."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import Result

from cli.tests.conftest import Savo
from libs.detection.tests.tiny_models import constant_model, raw_rows
from savo_contracts.documents import Alias, alias_key, model_key
from savo_contracts.envelope import Event, ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Arm, Detection, ScanCompleted, ScanRequested, ServedBy
from savo_contracts.topics import TOPICS
from savo_operations.rebuild.ordered_reader import open_ordered_reader
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

NOW = datetime.now(UTC)
EGG, MILK = BoundingBox(x=0.25, y=0.25, width=0.25, height=0.25), BoundingBox(x=0.6, y=0.5, width=0.3, height=0.4)
APPLE_AT_EGG = (16, 16, 32, 32, 0, 0.9)
MILK_MOVED = (42, 34, 62, 60, 1, 0.8)
"""Pixels of the 64 × 64 input, class, score."""

CONFIDENT: list[tuple[float, float, float, float, int, float]] = [APPLE_AT_EGG, MILK_MOVED]


def model(boxes: list[tuple[float, float, float, float, int, float]]) -> bytes:
    return constant_model(raw_rows(boxes, 3))


def photo(seed: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (320, 320), (seed * 40 % 256, 120, 90)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
async def recorded_scans(
    embedded_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RuntimeSettings:
    """Five scans: three answered by v1, one by Google, one unanswered.

    The photo of the first is missing, that of the second was replaced.
    """
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SAVO_KAFKA_BOOTSTRAP_SERVERS", embedded_broker.bootstrap_servers)
    monkeypatch.setenv("SAVO_EMBEDDED_BROKER", "true")
    settings = RuntimeSettings()
    publisher, store = Publisher(settings, "test"), open_store(settings)
    for number in range(5):
        data = photo(number)
        image = ImageRef(
            key=f"scans/aa/{number}.jpg",
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=320,
            height=320,
        )
        if number:
            await store.put(image.key, photo(9) if number == 1 else data)
        for event in events_of(number, image):
            await publisher.publish(event)
    await publisher.stop()
    await store.put(model_key("v2", "model.onnx"), model(CONFIDENT))
    await store.put(model_key("v2", "report.json"), report(model(CONFIDENT)))
    await store.put(
        alias_key("challenger"), Alias(alias="challenger", version="v2", moved_at=NOW).model_dump_json().encode()
    )
    await store.close()
    return settings


def events_of(number: int, image: ImageRef) -> list[Event]:
    scan_id = f"scan-{number}"
    requested = ScanRequested(
        scan_id=scan_id, subject="s", image=image, requested_at=NOW, expires_at=NOW + timedelta(seconds=120)
    )
    by = (
        {"served_by": ServedBy.GOOGLE, "model_version": "gemini"}
        if number == 3
        else {"served_by": ServedBy.CUSTOM, "model_version": "v1"}
    )
    items = tuple(
        Detection(label=label, name=label, confidence=0.9, bbox=box) for label, box in (("egg", EGG), ("milk", MILK))
    )
    route = {"assigned_arm": Arm.BASELINE, "bucket": 1, "share": 0.0, **by}
    outcome = {
        "items": items,
        "scan_confidence": 0.9,
        "duration_ms": 50,
        "cost_usd": 0,
        "requested_at": NOW,
        "completed_at": NOW,
    }
    return (
        [requested]
        if number == 4
        else [requested, ScanCompleted(scan_id=scan_id, subject="s", image=image, **route, **outcome)]
    )


def report(onnx: bytes) -> bytes:
    from savo_contracts import envelope

    example = Path(envelope.__file__).parent / "examples" / "models.registered" / "first.json"
    evaluation = json.loads(example.read_text())["value"]["evaluation"]
    facts = {
        "version": "v2",
        "run_id": "r",
        "dataset_version": "d1",
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "onnx_bytes": len(onnx),
    }
    rest = {
        "image_size": 64,
        "classes": ["apple", "milk", "egg"],
        "train_samples": 1,
        "evaluation": evaluation,
        "verdict": "passed",
        "created_at": NOW.isoformat(),
    }
    return json.dumps({**facts, **rest, "created_at": NOW.isoformat()}).encode()


async def end_offsets(settings: RuntimeSettings) -> Any:
    async with open_ordered_reader(settings, TOPICS) as reader:
        return await reader.ends()


def run(savo: Savo, *options: object) -> Result:
    """In a thread, because the command starts its own event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: savo("replay", *options)).result()


def summary_of(savo: Savo, *options: object) -> dict[str, Any]:
    done = run(savo, *options, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_the_answers_of_another_model_are_summarised_drawn_and_listed(
    recorded_scans: RuntimeSettings, savo: Savo, tmp_path: Path
) -> None:
    before = await end_offsets(recorded_scans)
    summary = summary_of(savo, "--model", "v2", "--output", tmp_path / "out")
    assert summary["scans"] == {
        "compared": 3,
        "changed": 3,
        "unchanged": 0,
        "unanswered_before": 1,
        "gone": 1,
        "altered": 1,
        "unreadable": 0,
    }
    assert summary["boxes"] == {"same": 0, "moved": 2, "relabelled": 2, "gained": 2, "lost": 0}
    assert {row["label"] for row in summary["labels"]} == {"apple", "egg", "milk"}
    assert summary["model"]["version"] == "v2"
    lines = [json.loads(line) for line in (tmp_path / "out" / "differences.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["gone", "altered", "compared", "compared", "compared"]
    for line in lines[2:]:
        with Image.open(tmp_path / "out" / line["picture"]) as picture:
            assert picture.width > 2 * picture.height * 0.8, "old and new are side by side"
    page = (tmp_path / "out" / "index.html").read_text()
    assert "egg → apple" in page
    assert page.count("<figure>") == 3
    assert await end_offsets(recorded_scans) == before, "nothing is written to Kafka"


async def test_below_the_threshold_the_recorded_answer_of_the_provider_is_used(
    recorded_scans: RuntimeSettings, savo: Savo, tmp_path: Path
) -> None:
    unsure = tmp_path / "unsure.onnx"
    unsure.write_bytes(model([(16, 16, 32, 32, 2, 0.4)]))
    summary = summary_of(savo, "--model", unsure, "--output", tmp_path / "out")
    assert summary["fallbacks"] == {"would_ask_provider": 3, "answered_by_record": 1, "without_record": 2}
    lines = {
        line["scan_id"]: line
        for line in map(json.loads, (tmp_path / "out" / "differences.jsonl").read_text().splitlines())
    }
    assert {change["kind"] for change in lines["scan-3"]["changes"]} == {"same"}, "Google's answer is unchanged"
    assert sorted(change["kind"] for change in lines["scan-2"]["changes"]) == ["lost", "same"]


async def test_an_interrupted_comparison_continues_also_by_an_alias_of_the_model(
    recorded_scans: RuntimeSettings, savo: Savo, tmp_path: Path
) -> None:
    first = summary_of(savo, "--model", "v2", "--output", tmp_path / "out", "--limit", 3)
    assert (first["limit_reached"], first["resumed"]) == (True, 0)
    second = summary_of(savo, "--model", "challenger", "--output", tmp_path / "out")
    assert (second["limit_reached"], second["resumed"], second["scans"]["compared"]) == (False, 3, 3)


async def test_a_single_scan_can_be_selected_and_a_folder_holds_one_replay(
    recorded_scans: RuntimeSettings, savo: Savo, tmp_path: Path
) -> None:
    summary = summary_of(savo, "--model", "v2", "--scan-id", "scan-3", "--output", tmp_path / "out")
    assert summary["scans"]["compared"] == 1
    refused = run(savo, "--model", "v2", "--output", tmp_path / "out")
    assert refused.exit_code == 1
    assert "holds the results of another replay" in refused.output


async def test_an_unknown_model_is_refused_with_the_allowed_values(recorded_scans: RuntimeSettings, savo: Savo) -> None:
    for name in ("v7", "champion", "nowhere.onnx"):
        refused = run(savo, "--model", name)
        assert refused.exit_code == 1, refused.output
        assert "savo models list" in refused.output or "the path of an ONNX file" in refused.output


async def test_a_dry_run_counts_the_scans_and_writes_nothing(
    recorded_scans: RuntimeSettings, savo: Savo, tmp_path: Path
) -> None:
    summary = summary_of(savo, "--model", "no-such-model.onnx", "--dry-run", "--output", tmp_path / "out")
    assert summary == {"dry_run": True, "scans": 5, "answered": 4, "never_answered": 1, "limit_reached": False}
    assert "5 scans would go through v2" in run(savo, "--model", "v2", "--dry-run", "--output", tmp_path / "out").stdout
    assert not (tmp_path / "out").exists()
