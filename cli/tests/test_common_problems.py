"""The three common problems: from the services' figures to a finding with its next step."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from cli.tests.conftest import Savo
from savo_cli.diagnose.common_problems import diagnose
from savo_cli.diagnose.finding import Finding
from savo_cli.diagnose.service_figures import ServiceFigures
from savo_cli.diagnose.sizes import size_text
from savo_cli.diagnose.storage_prices import RECOMMENDED, STORAGE_PROVIDERS
from savo_trainer.runs.run import Progress, Run, State

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def stats(samples: int = 0, megabytes: float = 0.0) -> dict[str, Any]:
    return {"total_samples": samples, "samples_today": 0, "storage_size_mb": megabytes}


def found(figures: ServiceFigures) -> dict[str, Finding]:
    return {finding.subject: finding for finding in diagnose(figures)}


def training(epoch: int, seconds: float) -> dict[str, Any]:
    """A run in the form of the trainer's GET /runs."""
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


def test_no_data_because_collection_is_switched_off() -> None:
    data = found(ServiceFigures(stats=stats(), collector={("skipped", "collection-off"): 3}))["data"]
    assert data.state == "wrong"
    assert "SAVO_COLLECT_TRAINING_DATA is false" in data.observed
    assert "SAVO_COLLECT_TRAINING_DATA=true" in data.fix


def test_no_data_because_photos_are_refused_names_the_commonest_reason() -> None:
    data = found(ServiceFigures(stats=stats(), progress={"refused_by_reason": {"dark": 1, "blurred": 5}}))["data"]
    assert (data.state, "5 of them as blurred" in data.observed, "SAVO_MIN_SHARPNESS" in data.fix) == (
        "wrong",
        True,
        True,
    )


def test_no_data_without_a_confirmed_scan_is_only_a_note() -> None:
    assert found(ServiceFigures(stats=stats()))["data"].state == "note"


@pytest.mark.parametrize(("megabytes", "state"), [(100, "ok"), (370, "note"), (400, "wrong")])
def test_storage_is_reported_before_it_is_full(megabytes: float, state: str) -> None:
    storage = found(
        ServiceFigures(stats=stats(9), storage_use={"samples": (1, 0.4e9), "objects": (megabytes * 1e6, 0.4e9)})
    )["storage"]
    assert (storage.state, f"{megabytes} MB of 400 MB (SAVO_STORAGE_LIMIT_GB=0.4)" in storage.observed) == (state, True)


def test_a_sample_refused_for_storage_means_full_storage_whatever_the_figures_are() -> None:
    storage = found(ServiceFigures(stats=stats(9, 1), progress={"refused_by_reason": {"storage-full": 2}}))["storage"]
    assert storage.state == "wrong"
    assert "SAVO_STORAGE_LIMIT_GB" in storage.fix


def test_refused_uploads_are_reported_with_the_gateway_s_storage_figures() -> None:
    storage = found(ServiceFigures(stats=stats(9, 1), storage_use={"folder": (981_130, 600_000)}, refused_uploads=7))[
        "storage"
    ]
    assert storage.state == "wrong"
    assert (
        storage.observed
        == "981 kB of 600 kB (SAVO_STORAGE_LIMIT_GB=0.0006); 7 uploads were refused because storage was full"
    )


def test_figures_that_the_gateway_does_not_give_are_reported_as_unknown() -> None:
    assert found(ServiceFigures(unknown="the gateway does not answer"))["data and storage"].state == "note"
    refused = found(ServiceFigures(stats=stats(9), unknown="the gateway requires a key"))["refused photos"]
    assert "SAVO_API_KEY" in refused.fix


@pytest.mark.parametrize(
    ("count", "text"),
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
def test_sizes_have_a_readable_unit(count: float, text: str) -> None:
    assert size_text(count) == text


def test_a_slow_training_is_reported_with_its_hours_and_faster_settings() -> None:
    slow = found(ServiceFigures(runs=(training(2, 600.0),)))["training run"]
    assert slow.state == "note"
    assert "300 s each, 8.2 h to go" in slow.observed
    assert "SAVO_TRAIN_DEVICE" in slow.fix
    assert found(ServiceFigures(runs=(training(50, 600.0),)))["training run"].state == "ok"


def test_a_refused_model_is_reported_with_the_place_of_its_reason() -> None:
    model = found(ServiceFigures(refused_models={"v3": 0.0, "/models/best.onnx": 2.0}))["model"]
    assert (model.state, "/models/best.onnx" in model.observed, "models.refused" in model.fix) == ("wrong", True, True)
    assert "model" not in found(ServiceFigures(refused_models={"v3": 0.0}))


def test_without_a_running_product_there_is_no_finding_about_data(savo: Savo) -> None:
    assert '"what": "data"' not in savo("doctor", "--json").stdout


def test_a_hundred_gigabytes_and_a_terabyte_out_cost_what_the_guide_says() -> None:
    costs = {each.name: each.monthly_cost(stored_gb=100, out_gb=1000) for each in STORAGE_PROVIDERS}
    assert {name: (cost.storage, cost.traffic_out, round(cost.total, 2)) for name, cost in costs.items()} == {
        "Render Disk": (100, 0, 100),
        "Cloudflare R2": (1.5, 0, 1.5),
        "AWS S3": (pytest.approx(2.30), 90, 92.30),
    }
    assert min(costs, key=lambda name: costs[name].total) == RECOMMENDED.name
