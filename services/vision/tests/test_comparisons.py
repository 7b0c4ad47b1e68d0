"""Shadow and teacher comparisons: they run after the answer, stay within the budget and harm no scan."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from prometheus_client import Counter
from structlog.testing import capture_logs

from savo_contracts.scans import Arm, ScanCompleted, ServedBy
from savo_detection.detector import DetectedBox
from savo_providers.errors import ProviderUnavailableError
from savo_providers.prices import Price, Usage
from savo_runtime.telemetry.metrics import SCAN_COST, SECOND_LOOK_ITEMS, SECOND_LOOKS
from savo_vision.adapters.results import StoredResults
from savo_vision.app import build_pipeline
from savo_vision.comparisons import QUEUE_LIMIT, ComparisonKind, ComparisonPolicy, Comparisons
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import DetectionThreads
from savo_vision.detections import Answer
from savo_vision.routing import RoutingPolicy
from savo_vision.scan_pipeline import ScanPipeline
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import NOW, FakeEngine, Harness, detection, model_ref, request, rollout

TRIAL = rollout(1, 0.0, candidate=model_ref("v2"), champion=model_ref("v1"))


@pytest.fixture(autouse=True)
def _clear_metrics() -> None:
    for metric in (SECOND_LOOKS, SECOND_LOOK_ITEMS, SCAN_COST):
        metric.clear()


@dataclass
class SlowEngine(FakeEngine):
    """Sets `began` at the start, and blocks until `may_end` is set."""

    began: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def detect_array(self, rgb: Any) -> list[DetectedBox]:
        self.began.set()
        self.may_end.wait(120)
        return super().detect_array(rgb)


def compared(
    harness: Harness,
    *,
    shadow: float = 0.0,
    teacher: float = 0.0,
    daily_usd: float | None = None,
    threads: Executor | None = None,
) -> tuple[ScanPipeline, Comparisons]:
    scan = harness.scan
    budget = replace(scan.budget, daily_usd=daily_usd)
    costs = CostPolicy(Price(1.0, 10.0), 3.6)
    comparisons = Comparisons(
        ComparisonPolicy(shadow, teacher),
        scan.router,
        scan.loaded_models,
        scan.provider,
        budget,
        scan.results,
        costs,
        harness.clock,
        threads or scan.detection_threads.threads,
    )
    return replace(scan, comparisons=comparisons), comparisons


async def answered(scan: ScanPipeline, scan_id: str = "s1") -> ScanCompleted:
    done = await scan(request(scan_id))
    assert isinstance(done, ScanCompleted)
    return done


def count(metric: Counter, **labels: str) -> float:
    samples = (sample for family in metric.collect() for sample in family.samples)
    return next((each.value for each in samples if each.name.endswith("_total") and each.labels == labels), 0.0)


async def test_the_candidate_runs_on_scans_that_the_baseline_has_answered(harness: Harness) -> None:
    harness.models.engines = {"v1": FakeEngine((0.9,)), "v2": FakeEngine((0.9, 0.8))}
    await harness.apply_rollout(TRIAL)
    scan, comparisons = compared(harness, shadow=1.0)
    done = await answered(scan)
    assert (done.model_version, len(done.items)) == ("v1", 1)
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 0
    await comparisons.drain()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 1
    assert count(SECOND_LOOK_ITEMS, kind="shadow", looked="v2", change="same") == 1
    assert count(SECOND_LOOK_ITEMS, kind="shadow", looked="v2", change="gained") == 1
    assert count(SCAN_COST, provider="custom", purpose="shadow") > 0


async def test_the_teacher_runs_on_scans_of_the_custom_model_and_its_price_is_booked(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, champion=model_ref("v1")))
    harness.provider.answer = Answer((detection("milk", 0.9),), Usage(1000, 100), model="gemini-9")
    scan, comparisons = compared(harness, teacher=1.0)
    done = await answered(scan)
    assert (done.served_by, harness.provider.calls) == (ServedBy.CUSTOM, 0)
    await comparisons.drain()
    assert harness.provider.calls == 1
    assert count(SECOND_LOOK_ITEMS, kind="teacher", looked="gemini-9", change="relabelled") == 1
    assert await scan.results.spent_since("google", NOW) == pytest.approx(0.002)
    assert count(SCAN_COST, provider="google", purpose="teacher") == pytest.approx(0.002)


async def test_the_teacher_stays_within_the_budget(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, champion=model_ref("v1")))
    await harness.scan.results.record_spending("google", 1.0, harness.clock())
    scan, comparisons = compared(harness, teacher=1.0, daily_usd=1.0)
    await answered(scan)
    await comparisons.drain()
    assert harness.provider.calls == 0
    assert count(SECOND_LOOKS, kind="teacher", outcome="failed") == 1


async def test_a_failed_comparison_harms_no_scan(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, champion=model_ref("v1")))
    harness.provider.error = ProviderUnavailableError("google", "does not answer")
    scan, comparisons = compared(harness, teacher=1.0)
    await answered(scan)
    await comparisons.drain()
    assert count(SECOND_LOOKS, kind="teacher", outcome="failed") == 1


async def test_a_failing_candidate_harms_no_scan_and_further_comparisons_run(harness: Harness) -> None:
    harness.models.engines = {"v1": FakeEngine((0.9,)), "v2": FakeEngine(error=RuntimeError("out of tensors"))}
    await harness.apply_rollout(TRIAL)
    scan, comparisons = compared(harness, shadow=1.0)
    for number in range(2):
        assert (await answered(scan, f"s{number}")).model_version == "v1"
    with capture_logs() as logs:
        await comparisons.drain()
    assert count(SECOND_LOOKS, kind="shadow", outcome="failed") == 2
    assert [entry["error"] for entry in logs if entry["event"] == "comparison.failed"] == [
        "the candidate v2 failed: out of tensors"
    ] * 2


async def test_a_comparison_that_does_not_end_delays_no_answer(harness: Harness) -> None:
    """Scans have a single thread. If the comparison used it, only the first scan would be answered."""
    began, may_end = threading.Event(), threading.Event()
    harness.models.engines = {"v1": FakeEngine((0.9,)), "v2": SlowEngine(began=began, may_end=may_end)}
    await harness.apply_rollout(TRIAL)
    with ThreadPoolExecutor(1) as scan_threads, ThreadPoolExecutor(1) as comparison_threads:
        scan, comparisons = compared(
            replace(harness, scan=replace(harness.scan, detection_threads=DetectionThreads(scan_threads))),
            shadow=1.0,
            threads=comparison_threads,
        )
        worker = asyncio.create_task(comparisons.run())
        async with asyncio.timeout(90):
            await answered(scan, "s0")
            await asyncio.to_thread(began.wait)
            for number in range(1, QUEUE_LIMIT + 3):
                assert (await answered(scan, f"s{number}")).model_version == "v1"
            assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 0
            assert count(SECOND_LOOKS, kind="shadow", outcome="left-out") == 2
            may_end.set()
            while count(SECOND_LOOKS, kind="shadow", outcome="done") <= QUEUE_LIMIT:
                await asyncio.sleep(0.001)
        worker.cancel()


async def test_comparisons_have_a_separate_thread(harness: Harness) -> None:
    settings = VisionSettings(GOOGLE_API_KEY="k", SAVO_SHADOW_SHARE=1.0)
    scan = build_pipeline(
        settings,
        harness.runtime,
        harness.routing_updates,
        StoredResults(harness.runtime.database),
        ThreadPoolExecutor(1),
    )
    assert scan.comparisons
    assert scan.comparisons.threads is not scan.detection_threads.threads
    await scan.comparisons.close()
    await scan.provider.close()


async def test_comparisons_above_the_queue_limit_are_left_out_and_counted(harness: Harness) -> None:
    await harness.apply_rollout(TRIAL)
    scan, comparisons = compared(harness, shadow=1.0)
    for number in range(QUEUE_LIMIT + 3):
        await answered(scan, f"s{number}")
    assert count(SECOND_LOOKS, kind="shadow", outcome="left-out") == 3
    await comparisons.drain()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == QUEUE_LIMIT


async def test_a_repeated_scan_is_compared_once(harness: Harness) -> None:
    await harness.apply_rollout(TRIAL)
    scan, comparisons = compared(harness, shadow=1.0)
    await answered(scan)
    await answered(scan)
    await comparisons.drain()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 1


async def test_scans_are_drawn_by_id_and_a_larger_share_keeps_those_of_a_smaller_one(harness: Harness) -> None:
    await harness.apply_rollout(TRIAL)
    done = await answered(harness.scan)
    drawn = {
        share: {
            n
            for n in range(4000)
            if ComparisonPolicy(share).kind_for(done.model_copy(update={"scan_id": f"s{n}"}), "v2")
        }
        for share in (0.1, 0.3)
    }
    assert len(drawn[0.1]) == pytest.approx(400, rel=0.2)
    assert drawn[0.1] < drawn[0.3]
    assert ComparisonPolicy(1.0).kind_for(done, None) is None
    assert ComparisonPolicy(1.0).kind_for(done, done.model_version) is None
    assert ComparisonPolicy(1.0, 1.0).kind_for(done, "v2") is ComparisonKind.TEACHER


@pytest.mark.parametrize(
    "routing_policy", [RoutingPolicy(use_custom=True, pins={"u1": Arm.CANDIDATE, "u2": Arm.BASELINE})]
)
async def test_a_pinned_subject_stays_in_its_arm_and_is_no_evidence(harness: Harness) -> None:
    await harness.apply_rollout(rollout(1, 0.0, candidate=model_ref("v2")))
    done = await answered(harness.scan)
    assert (done.assigned_arm, done.model_version, done.experiment) == (Arm.CANDIDATE, "v2", None)
    await harness.apply_rollout(rollout(2, 1.0, candidate=model_ref("v2")))
    other = await harness.scan(request("s2", "u2"))
    assert isinstance(other, ScanCompleted)
    assert (other.assigned_arm, other.experiment) == (Arm.BASELINE, None)
