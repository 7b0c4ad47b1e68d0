"""Tests of dashboards and alerts on a real Prometheus that scraped a real run of the product."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import yaml

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ScanRequested
from savo_contracts.topics import topic_named
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, new_client
from tests.monitoring.boards import ROOT, alerts, queries
from tests.parts.interventions import held_write_lock, kill_standin, publish, register, send
from tests.parts.prometheus import Prometheus, running_prometheus
from tests.parts.wheel import Wheel, objects_under, running_wheel

SURE = constant_model(raw_rows([(8, 8, 40, 40, 0, 0.9)], len(NAMES)))
UNSURE = constant_model(raw_rows([(8, 8, 40, 40, 0, 0.4)], len(NAMES)))

SETTINGS = {
    "SAVO_ROLLOUT_MIN_CONFIRMED": "10000",
    "SAVO_ROLLOUT_ALPHA": "0.000001",
    "SAVO_GOOGLE_DAILY_BUDGET_USD": "100",
    "SAVO_STORAGE_LIMIT_GB": "1",
    "SAVO_RATE_LIMIT_PER_MINUTE": "0",
}
WITHIN = 200.0
WINDOW = "1h"

pytestmark = [pytest.mark.real, pytest.mark.prometheus, pytest.mark.slow, pytest.mark.timeout(600)]


@dataclass
class Load:
    """Requests of the run, counted by the phones."""

    visits: list[ScanOutcome] = field(default_factory=list)
    poison: int = 0
    without_photo: int = 0

    @property
    def confirmed(self) -> list[ScanOutcome]:
        return [visit for visit in self.visits if visit.confirmed]

    def by_arm(self, chosen: Callable[[ScanOutcome], int] = lambda _: 1) -> dict[str, float]:
        counts = Counter[str]()
        for visit in self.confirmed:
            counts[str(visit.arm)] += chosen(visit)
        return {arm: float(number) for arm, number in counts.items()}


@dataclass
class Run:
    wheel: Wheel
    prometheus: Prometheus
    load: Load
    stats: dict[str, Any]
    progress: dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    folder = tmp_path_factory.mktemp("monitoring")
    scenes = list(draw_scenes(28, seed=7))
    write_scenes(folder / "truth", scenes)
    config = (
        (ROOT / "deploy/prometheus/savo-up.yml")
        .read_text()
        .replace("../../.savo", str(folder / "savo"))
        .replace(": 5s", ": 1s")
    )
    alert_rules = {"alerts.yml": (ROOT / "deploy/prometheus/alerts.yml").read_text()}
    with running_prometheus(config, folder / "prometheus", alert_rules) as prometheus:
        no_errors = ["--standin-option=--errors", "--standin-option=0"]
        with running_wheel(folder / "savo", folder / "truth", SETTINGS, *no_errors, latency_scale=0.02) as wheel:
            until(lambda: len(prometheus.query('up{job="savo"} == 1')) == 6, "six services scraped")
            async with new_client(wheel.url) as client:
                load = await run_load(wheel, prometheus, client, scenes)
                stored = len(objects_under(wheel.data_dir, "samples/meta"))
                until(
                    lambda: prometheus.query('max(savo_goal_now{figure="samples"})') == [({}, float(stored))],
                    "the goals' gauges",
                )
                stats, progress = (
                    (await client.get("/training/stats")).json(),
                    (await client.get("/training/progress")).json(),
                )
            yield Run(wheel, prometheus, load, stats, progress)


async def run_load(wheel: Wheel, prometheus: Prometheus, client: httpx2.AsyncClient, scenes: list[Scene]) -> Load:
    """Runs scans and faults that give every panel data.

    Scans by the provider alone, a candidate with low confidence, one with high confidence, one that cannot be loaded,
    poison messages, and a scan without its photo.
    """
    load, people, source = Load(), count(), iter(scenes)
    simulated_users = SimulatedUsers(client, random.Random(7), at_once=4)

    async def scans(number: int) -> None:
        chosen = [next(source) for _ in range(number)]
        await simulated_users.run(
            (Upload(f"user-{next(people)}", scene.jpeg, scene.truth) for scene in chosen), load.visits.append
        )

    async def confirm(upload: Upload) -> None:
        """Scan until the upload is confirmed: scans fail while the stand-in restarts or the breaker is open."""
        deadline = time.monotonic() + WITHIN
        while True:
            await simulated_users.run([upload], load.visits.append)
            if load.visits[-1].confirmed:
                return
            assert time.monotonic() < deadline, f"timeout after {WITHIN:g} s: a confirmed scan, got {load.visits[-1]}"
            await asyncio.sleep(0.5)

    await scans(4)
    await register(wheel, "v1", UNSURE, NAMES, map50=0.76)
    await give_half_to_candidate(client, prometheus, "v1")
    await scans(8)
    kill_standin(wheel)
    await scans(2)
    await confirm(Upload("somebody-else", scenes[0].jpeg, scenes[0].truth))
    with held_write_lock(wheel.data_dir / "db/collector.sqlite3"):
        scene = next(source)
        await confirm(Upload(f"user-{next(people)}", scene.jpeg, scene.truth))
        until(lambda: bool(prometheus.query("savo_retries_total")), "retries")
    assert (
        await client.put("/admin/rollout", json={"action": "rollback", "reason": "never sure", "by": "test"})
    ).status_code == 200
    await register(wheel, "v2", SURE, NAMES, map50=0.81)
    await give_half_to_candidate(client, prometheus, "v2")
    await scans(10)
    assert (
        await client.put("/admin/rollout", json={"action": "rollback", "reason": "wrong", "by": "test"})
    ).status_code == 200
    await register(wheel, "v3", b"no network at all", NAMES)
    until(lambda: bool(prometheus.query("savo_models_refused_total")), "v3 refused")
    for topic in ("scans.requested", "samples.stored"):
        await send(wheel, topic, b"{ this is no event")
        load.poison += len(topic_named(topic).consumers)
    await publish(wheel, scan_without_a_photo())
    load.without_photo += 1
    until(lambda: total(prometheus, "savo_dead_letters_total") == load.poison, "dead letters")
    until(
        lambda: total(prometheus, 'savo_scans_total{outcome="photo-missing"}') == load.without_photo,
        "a scan without its photo",
    )
    until(lambda: total(prometheus, "sum(max by (topic, group) (savo_consumer_lag))") == 0, "no lag")
    until(lambda: total(prometheus, "savo_samples_total") == len(load.confirmed), "an outcome of every confirmation")
    return load


async def give_half_to_candidate(client: httpx2.AsyncClient, prometheus: Prometheus, version: str) -> None:
    def is_candidate() -> bool:
        return bool(
            httpx2.get(str(client.base_url.join("/admin/rollout")), trust_env=False).json().get("experiment") == version
        )

    until(is_candidate, f"{version} on trial")
    answer = await client.put("/admin/rollout", json={"action": "set", "share": 0.5, "reason": "test", "by": "test"})
    assert answer.status_code == 200, answer.text
    share = 'savo_rollout_share{service="vision"} == 0.5'
    model = f'savo_model_info{{service="vision",alias="challenger",version="{version}"}} == 1'
    until(lambda: bool(prometheus.query(f"{share} and on() {model}")), f"{version} at half the traffic")


def scan_without_a_photo() -> ScanRequested:
    image = ImageRef(
        key="scans/ff/" + "f" * 64 + ".jpg", sha256="f" * 64, media_type="image/jpeg", bytes=10, width=10, height=10
    )
    now = datetime.now(UTC)
    return ScanRequested(
        scan_id="f" * 32,
        subject="subject-without-photo",
        image=image,
        requested_at=now,
        expires_at=now + timedelta(seconds=60),
    )


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"timeout after {WITHIN:g} s: {what}"
        time.sleep(0.25)


def total(prometheus: Prometheus, expression: str) -> float:
    return sum(value for _, value in prometheus.query(expression))


def summed(run: Run, metric: str, *labels: str) -> dict[str, float]:
    """Values of the labels, joined by a slash → sum over all other labels."""
    return {
        "/".join(found.get(label, "") for label in labels): value
        for found, value in run.prometheus.query(f"sum by ({', '.join(labels)}) ({metric}) > 0")
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_every_panel_has_data(run: Run) -> None:
    empty = [str(query) for query in queries() if not run.prometheus.query(query.filled(WINDOW))]
    assert empty == []


@pytest.mark.asyncio(loop_scope="module")
async def test_every_variable_has_values(run: Run) -> None:
    assert "scans.requested" in run.prometheus.label_values("savo_consumer_lag", "topic")
    assert "samples" in run.prometheus.label_values("savo_goal", "figure")


@pytest.mark.asyncio(loop_scope="module")
async def test_every_alert_is_evaluated_and_the_expected_ones_fire(run: Run) -> None:
    for alert in alerts():
        run.prometheus.query(alert.expression)
    active = {alert.name for alert in alerts() if run.prometheus.query(alert.expression)}
    assert active >= {"DeadLetters", "ModelRefused"}
    unexpected = {
        "ServiceDown",
        "ConsumerStuck",
        "DeadLetterCapReached",
        "NoSamples",
        "StorageNearlyFull",
        "TrainingFailed",
        "BudgetNearlySpent",
    }
    assert active & unexpected == set()
    until(lambda: {"DeadLetters", "ModelRefused"} <= run.prometheus.firing(), "firing alerts in Prometheus")


@pytest.mark.asyncio(loop_scope="module")
async def test_counters_equal_the_phones_counts(run: Run) -> None:
    load = run.load
    by = Counter(f"{visit.arm}/{visit.served_by}/completed" for visit in load.visits if visit.served_by)
    counted = summed(run, "savo_scans_total", "assigned_arm", "served_by", "outcome")
    failed = {key: value for key, value in counted.items() if not key.endswith("/completed")}
    assert {key: value for key, value in counted.items() if key not in failed} == dict(by)
    assert sum(failed.values()) == load.without_photo + sum(visit.failed is not None for visit in load.visits)
    assert summed(run, "savo_confirmed_scans_total", "assigned_arm") == load.by_arm()
    assert summed(run, "savo_corrected_scans_total", "assigned_arm") == load.by_arm(lambda visit: visit.corrected)
    items = Counter(f"{visit.arm}/{edit.action.value}" for visit in load.confirmed for edit in visit.edits)
    assert summed(run, "savo_confirmed_items_total", "assigned_arm", "action") == dict(items)
    fallbacks = sum(visit.arm == "candidate" and visit.served_by == "google" for visit in load.visits)
    assert fallbacks > 0
    assert summed(run, "savo_fallbacks_total", "reason") == {"low-confidence": fallbacks}
    assert total(run.prometheus, "savo_arm_cost_usd_total") == pytest.approx(
        sum(visit.cost_usd for visit in load.visits)
    )
    assert total(run.prometheus, "savo_scan_cost_usd_total") == pytest.approx(
        total(run.prometheus, "savo_arm_cost_usd_total")
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_gauges_equal_the_figures_of_the_api(run: Run) -> None:
    samples = summed(run, "savo_samples_total", "outcome")
    assert samples["stored"] == run.stats["total_samples"]
    assert summed(run, "savo_samples_total", "outcome", "reason").get("stored/") == samples["stored"]
    assert {
        metric["label"]: value for metric, value in run.prometheus.query("max by (label) (savo_dataset_boxes)")
    } == run.progress["per_class"]
    goals = {(metric["milestone"], metric["figure"]): value for metric, value in run.prometheus.query("savo_goal")}
    assert goals == {(row["milestone"], row["figure"]): row["goal"] for row in run.progress["goals"]}
    assert (
        summed(run, "savo_model_map50", "version")
        == {"v1": 0.76, "v2": 0.81, "v3": 0.8}
        == run.progress["map50_by_version"]
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_a_counter_that_is_new_in_the_window_includes_its_first_count(run: Run) -> None:
    """`increase` extrapolates to the ends of the window, so it is close to the count but not exact.

    Without the first count it would differ much more.
    """
    for query in queries():
        if query.board == "pipeline" and query.panel == "New dead letters":
            assert total(run.prometheus, query.filled(WINDOW)) == pytest.approx(run.load.poison, abs=0.2)
        if query.board == "arms" and query.panel == "Confirmed scans":
            assert total(run.prometheus, query.filled(WINDOW)) == pytest.approx(len(run.load.confirmed), rel=0.1)
        if query.board == "arms" and query.panel == "Fallbacks":
            fallbacks = sum(visit.arm == "candidate" and visit.served_by == "google" for visit in run.load.visits)
            assert total(run.prometheus, query.filled(WINDOW)) == pytest.approx(fallbacks, rel=0.1)
        if query.board == "arms" and query.panel == "Answered by the provider":
            answered = [visit for visit in run.load.visits if visit.arm == "candidate" and visit.served_by]
            share = sum(visit.served_by == "google" for visit in answered) / len(answered)
            shown = {metric["assigned_arm"]: value for metric, value in run.prometheus.query(query.filled(WINDOW))}
            assert shown["candidate"] == pytest.approx(share, rel=0.1)


@pytest.mark.asyncio(loop_scope="module")
async def test_prometheus_has_loaded_the_committed_rules(run: Run) -> None:
    groups = httpx2.get(f"{run.prometheus.url}/api/v1/rules", trust_env=False).json()["data"]["groups"]
    loaded = {rule["name"] for group in groups for rule in group["rules"]}
    assert loaded == {
        rule["alert"]
        for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
