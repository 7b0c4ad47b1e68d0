"""The owner's variables for a model by its path, in the running product: a pinned experiment with half the traffic."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.detection.tests.tiny_models import constant_model, raw_rows
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.wheel import running_wheel

pytestmark = [pytest.mark.real]

SCANS = 16


def test_half_of_the_traffic_is_on_the_model_and_both_arms_are_counted(tmp_path: Path) -> None:
    write_scenes(tmp_path / "truth", draw_scenes(2, seed=4))
    (tmp_path / "best.onnx").write_bytes(constant_model(raw_rows([(16, 16, 32, 32, 0, 0.9)], 3)))
    settings = {
        "SAVO_USE_CUSTOM_VISION": "true",
        "SAVO_CUSTOM_VISION_MODEL_PATH": str(tmp_path / "best.onnx"),
        "SAVO_CUSTOM_VISION_ROLLOUT": "0.5",
        "SAVO_COLLECT_TRAINING_DATA": "true",
    }
    photos = sorted((tmp_path / "truth/images").iterdir())
    with running_wheel(tmp_path / "savo", tmp_path / "truth", settings) as wheel:
        with httpx2.Client(base_url=wheel.url, timeout=60, trust_env=False) as http:
            results = [scan_and_confirm(http, photos[number % 2], f"person-{number}") for number in range(SCANS)]
            arms = Counter(result["assigned_arm"] for result in results)
            report = report_with(http, scans=SCANS)
        assert 0 < arms["candidate"] < SCANS
        assert {result["served_by"] for result in results if result["assigned_arm"] == "candidate"} == {"custom"}
        (experiment,) = {result["experiment"] for result in results}
        assert experiment.startswith("best-")
        assert (report["state"], report["share"], report["experiment"]) == ("pinned", 0.5, experiment)
        assert report["reason"].startswith("by path")
        for name, figures in report["arms"].items():
            assert (figures["scans"], figures["confirmed"]) == (arms[name], arms[name])
            assert figures["accuracy"]["target"] == 0.8
        assert report["arms"]["candidate"]["answered_by_candidate"] == arms["candidate"]
    # Killed or stopped, the next start continues the experiment; at 1.0 every scan is the model's.
    with running_wheel(
        tmp_path / "savo", tmp_path / "truth", settings | {"SAVO_CUSTOM_VISION_ROLLOUT": "1.0"}
    ) as wheel:
        with httpx2.Client(base_url=wheel.url, timeout=60, trust_env=False) as http:
            results = [scan_and_confirm(http, photos[number % 2], f"person-{number}") for number in range(4)]
            report = report_with(http, scans=SCANS + 4)
        assert {(result["assigned_arm"], result["served_by"]) for result in results} == {("candidate", "custom")}
        assert (report["state"], report["share"], report["experiment"]) == ("pinned", 1.0, experiment)


def scan_and_confirm(http: httpx2.Client, photo: Path, person: str) -> dict[str, Any]:
    """The result of a scan, which its user confirms."""
    answer = http.post(
        "/v1/scans?wait=30", files={"image": (photo.name, photo.read_bytes())}, data={"user_id": person}
    ).json()
    assert answer["status"] == "completed", answer
    confirmed = http.post(f"/v1/scans/{answer['scan_id']}/confirmation", json={"all_correct": True})
    assert confirmed.status_code in (200, 201, 202), confirmed.text
    result: dict[str, Any] = answer["result"]
    return result


def report_with(http: httpx2.Client, *, scans: int) -> dict[str, Any]:
    """The rollout's report when it counts as many scans and confirmations."""
    deadline = time.monotonic() + 60
    while True:
        report: dict[str, Any] = http.get("/admin/rollout").json()
        if all(sum(arm[of] for arm in report["arms"].values()) == scans for of in ("scans", "confirmed")):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.2)
