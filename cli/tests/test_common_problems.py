"""The three troubles, from what services say to the next step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from cli.tests.conftest import Savo
from savo_cli.diagnose.common_problems import Seen, causes
from savo_cli.diagnose.checks import Finding
from savo_cli.diagnose.sizes import in_bytes
from savo_trainer.runs.run import Progress, Run, State

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def stats(samples: int = 0, megabytes: float = 0.0) -> dict[str, Any]:
    return {"total_samples": samples, "samples_today": 0, "storage_size_mb": megabytes}


def found(seen: Seen) -> dict[str, Finding]:
    return {finding.what: finding for finding in causes(seen)}


def training(epoch: int, seconds: float) -> dict[str, Any]:
    """As the trainer's GET /runs says it."""
    progress = Progress(epoch=epoch, epochs=100, seconds=seconds)
    run = Run(
        id="run-1",
        event_id=uuid4(),
        dataset="ingredients",
        state=State.TRAINING,
        trigger={},
        progress=progress,
        requested_at=NOW,
    )
    return run.model_dump(mode="json")


def test_no_data_because_it_is_switched_off() -> None:
    data = found(Seen(stats=stats(), collector={("skipped", "collection-off"): 3}))["data"]
    assert data.state == "wrong"
    assert "SAVO_COLLECT_TRAINING_DATA is false" in data.found
    assert "SAVO_COLLECT_TRAINING_DATA=true" in data.fix


def test_no_data_because_photos_are_refused_names_the_commonest_reason() -> None:
    data = found(Seen(stats=stats(), progress={"refused_by_reason": {"dark": 1, "blurred": 5}}))["data"]
    assert (data.state, "5 of them as blurred" in data.found, "SAVO_MIN_SHARPNESS" in data.fix) == ("wrong", True, True)


def test_no_data_because_nobody_confirmed_is_no_fault() -> None:
    assert found(Seen(stats=stats()))["data"].state == "note"


@pytest.mark.parametrize(("megabytes", "state"), [(100, "ok"), (370, "note"), (400, "wrong")])
def test_storage_is_told_before_it_is_full(megabytes: float, state: str) -> None:
    storage = found(Seen(stats=stats(9), rooms={"samples": (1, 0.4e9), "objects": (megabytes * 1e6, 0.4e9)}))["storage"]
    assert (storage.state, f"{megabytes} MB of 400 MB (SAVO_STORAGE_LIMIT_GB=0.4)" in storage.found) == (state, True)


def test_a_refusal_for_want_of_room_is_full_whatever_the_figures_say() -> None:
    storage = found(Seen(stats=stats(9, 1), progress={"refused_by_reason": {"storage-full": 2}}))["storage"]
    assert storage.state == "wrong"
    assert "SAVO_STORAGE_LIMIT_GB" in storage.fix


def test_uploads_that_the_gateway_had_no_room_for_are_told_with_the_figures_it_goes_by() -> None:
    storage = found(Seen(stats=stats(9, 1), rooms={"folder": (981_130, 600_000)}, refused_uploads=7))["storage"]
    assert storage.state == "wrong"
    assert storage.found == "981 kB of 600 kB (SAVO_STORAGE_LIMIT_GB=0.0006); 7 uploads were refused for want of room"


def test_what_the_gateway_would_not_tell_is_said_to_be_unknown() -> None:
    assert found(Seen(unknown="the gateway does not answer"))["data and storage"].state == "note"
    refused = found(Seen(stats=stats(9), unknown="the gateway asks for a key"))["refused photos"]
    assert "SAVO_API_KEY" in refused.fix


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (57_300, "57.3 kB"),
        (999_700, "1 MB"),
        (981_130, "981 kB"),
        (12.3e9, "12.3 GB"),
        (1.5e12, "1,500 GB"),
    ],
)
def test_bytes_have_a_unit_that_a_person_reads(count: float, words: str) -> None:
    assert in_bytes(count) == words


def test_a_slow_training_is_told_with_its_hours_and_what_is_faster() -> None:
    slow = found(Seen(runs=(training(2, 600.0),)))["training run"]
    assert slow.state == "note"
    assert "300 s each, 8.2 h to go" in slow.found
    assert "SAVO_TRAIN_DEVICE" in slow.fix
    assert found(Seen(runs=(training(50, 600.0),)))["training run"].state == "ok"


def test_a_model_that_was_not_loaded_is_named_with_where_its_reason_is() -> None:
    model = found(Seen(refused_models={"v3": 0.0, "/models/best.onnx": 2.0}))["model"]
    assert (model.state, "/models/best.onnx" in model.found, "models.refused" in model.fix) == ("wrong", True, True)
    assert "model" not in found(Seen(refused_models={"v3": 0.0}))


def test_without_a_running_product_nothing_is_said_of_it(savo: Savo) -> None:
    assert '"what": "data"' not in savo("doctor", "--json").stdout
