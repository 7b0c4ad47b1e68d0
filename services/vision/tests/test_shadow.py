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
from savo_detection.model import DetectedBox
from savo_providers.errors import ProviderUnavailableError
from savo_providers.prices import Price, Usage
from savo_runtime.telemetry.metrics import SCAN_COST, SECOND_LOOK_ITEMS, SECOND_LOOKS
from savo_vision.adapters.results import StoredResults
from savo_vision.app import build_scan
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import Detecting
from savo_vision.detections import Answer
from savo_vision.routing import RoutingPolicy
from savo_vision.scan_pipeline import Scan
from savo_vision.settings import VisionSettings
from savo_vision.shadow import MOST_WAITING, Kind, SecondLookPolicy, SecondLooks
from services.vision.tests.conftest import NOW, FakeEngine, World, model_ref, request, rollout, seen

TRIAL = rollout(1, 0.0, candidate=model_ref("v2"), champion=model_ref("v1"))


@pytest.fixture(autouse=True)
def _counted_from_zero() -> None:
    for metric in (SECOND_LOOKS, SECOND_LOOK_ITEMS, SCAN_COST):
        metric.clear()


@dataclass
class SlowEngine(FakeEngine):
    """Says when it begins, and ends when it is told to."""

    began: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def detect_array(self, rgb: Any) -> list[DetectedBox]:
        self.began.set()
        self.may_end.wait(120)
        return super().detect_array(rgb)


def watched(
    world: World,
    *,
    shadow: float = 0.0,
    teacher: float = 0.0,
    daily_usd: float | None = None,
    threads: Executor | None = None,
) -> tuple[Scan, SecondLooks]:
    scan = world.scan
    budget = replace(scan.budget, daily_usd=daily_usd)
    costs = CostPolicy(Price(1.0, 10.0), 3.6)
    looks = SecondLooks(
        SecondLookPolicy(shadow, teacher),
        scan.router,
        scan.slot,
        scan.provider,
        budget,
        scan.results,
        costs,
        world.clock,
        threads or scan.detecting.threads,
    )
    return replace(scan, second_looks=looks), looks


async def answered(scan: Scan, scan_id: str = "s1") -> ScanCompleted:
    done = await scan(request(scan_id))
    assert isinstance(done, ScanCompleted)
    return done


def count(metric: Counter, **labels: str) -> float:
    samples = (sample for family in metric.collect() for sample in family.samples)
    return next((each.value for each in samples if each.name.endswith("_total") and each.labels == labels), 0.0)


async def test_the_candidate_sees_the_baselines_scans_after_they_are_answered(world: World) -> None:
    world.models.engines = {"v1": FakeEngine((0.9,)), "v2": FakeEngine((0.9, 0.8))}
    await world.turn_to(TRIAL)
    scan, looks = watched(world, shadow=1.0)
    done = await answered(scan)
    assert (done.model_version, len(done.items)) == ("v1", 1)
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 0
    await looks.settle()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 1
    assert count(SECOND_LOOK_ITEMS, kind="shadow", looked="v2", change="same") == 1
    assert count(SECOND_LOOK_ITEMS, kind="shadow", looked="v2", change="gained") == 1
    assert count(SCAN_COST, provider="custom", purpose="shadow") > 0


async def test_the_teacher_sees_our_own_answers_and_its_price_is_booked(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, champion=model_ref("v1")))
    world.provider.answer = Answer((seen("milk", 0.9),), Usage(1000, 100), model="gemini-9")
    scan, looks = watched(world, teacher=1.0)
    done = await answered(scan)
    assert (done.served_by, world.provider.calls) == (ServedBy.CUSTOM, 0)
    await looks.settle()
    assert world.provider.calls == 1
    assert count(SECOND_LOOK_ITEMS, kind="teacher", looked="gemini-9", change="relabelled") == 1
    assert await scan.results.spent_since("google", NOW) == pytest.approx(0.002)
    assert count(SCAN_COST, provider="google", purpose="teacher") == pytest.approx(0.002)


async def test_the_teacher_stays_within_the_budget(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, champion=model_ref("v1")))
    await world.scan.results.book("google", 1.0, world.clock())
    scan, looks = watched(world, teacher=1.0, daily_usd=1.0)
    await answered(scan)
    await looks.settle()
    assert world.provider.calls == 0
    assert count(SECOND_LOOKS, kind="teacher", outcome="failed") == 1


async def test_a_look_that_fails_harms_no_scan(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, champion=model_ref("v1")))
    world.provider.fault = ProviderUnavailableError("google", "does not answer")
    scan, looks = watched(world, teacher=1.0)
    await answered(scan)
    await looks.settle()
    assert count(SECOND_LOOKS, kind="teacher", outcome="failed") == 1


async def test_a_candidate_that_breaks_in_the_shadow_harms_no_scan_and_the_looks_go_on(world: World) -> None:
    world.models.engines = {"v1": FakeEngine((0.9,)), "v2": FakeEngine(fault=RuntimeError("out of tensors"))}
    await world.turn_to(TRIAL)
    scan, looks = watched(world, shadow=1.0)
    for number in range(2):
        assert (await answered(scan, f"s{number}")).model_version == "v1"
    with capture_logs() as logs:
        await looks.settle()
    assert count(SECOND_LOOKS, kind="shadow", outcome="failed") == 2
    assert [entry["reason"] for entry in logs if entry["event"] == "shadow.failed"] == [
        "the candidate v2 broke: out of tensors"
    ] * 2


async def test_a_shadow_that_never_ends_delays_no_answer(world: World) -> None:
    """The scans have one thread, as on one core: if the shadow ran on it, no scan after the first would be answered."""
    began, may_end = threading.Event(), threading.Event()
    world.models.engines = {"v1": FakeEngine((0.9,)), "v2": SlowEngine(began=began, may_end=may_end)}
    await world.turn_to(TRIAL)
    with ThreadPoolExecutor(1) as one_thread, ThreadPoolExecutor(1) as aside:
        scan, looks = watched(
            replace(world, scan=replace(world.scan, detecting=Detecting(one_thread))), shadow=1.0, threads=aside
        )
        worker = asyncio.create_task(looks.run())
        async with asyncio.timeout(90):
            await answered(scan, "s0")
            await asyncio.to_thread(began.wait)
            for number in range(1, MOST_WAITING + 3):
                assert (await answered(scan, f"s{number}")).model_version == "v1"
            assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 0
            assert count(SECOND_LOOKS, kind="shadow", outcome="left-out") == 2
            may_end.set()
            while count(SECOND_LOOKS, kind="shadow", outcome="done") <= MOST_WAITING:
                await asyncio.sleep(0.001)
        worker.cancel()


async def test_the_service_gives_its_second_looks_a_thread_of_their_own(world: World) -> None:
    settings = VisionSettings(GOOGLE_API_KEY="k", SAVO_SHADOW_SHARE=1.0)
    scan = build_scan(
        settings, world.runtime, world.steering, StoredResults(world.runtime.database), ThreadPoolExecutor(1)
    )
    assert scan.second_looks
    assert scan.second_looks.threads is not scan.detecting.threads
    await scan.second_looks.close()
    await scan.provider.close()


async def test_when_too_many_wait_scans_go_on_and_the_rest_is_counted(world: World) -> None:
    await world.turn_to(TRIAL)
    scan, looks = watched(world, shadow=1.0)
    for number in range(MOST_WAITING + 3):
        await answered(scan, f"s{number}")
    assert count(SECOND_LOOKS, kind="shadow", outcome="left-out") == 3
    await looks.settle()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == MOST_WAITING


async def test_a_repeat_is_not_looked_at_twice(world: World) -> None:
    await world.turn_to(TRIAL)
    scan, looks = watched(world, shadow=1.0)
    await answered(scan)
    await answered(scan)
    await looks.settle()
    assert count(SECOND_LOOKS, kind="shadow", outcome="done") == 1


async def test_about_a_share_is_drawn_by_the_scan_and_a_larger_share_keeps_it(world: World) -> None:
    await world.turn_to(TRIAL)
    done = await answered(world.scan)
    drawn = {
        share: {
            n
            for n in range(4000)
            if SecondLookPolicy(share).kind_for(done.model_copy(update={"scan_id": f"s{n}"}), "v2")
        }
        for share in (0.1, 0.3)
    }
    assert len(drawn[0.1]) == pytest.approx(400, rel=0.2)
    assert drawn[0.1] < drawn[0.3]
    assert SecondLookPolicy(1.0).kind_for(done, None) is None
    assert SecondLookPolicy(1.0).kind_for(done, done.model_version) is None
    assert SecondLookPolicy(1.0, 1.0).kind_for(done, "v2") is Kind.TEACHER


@pytest.mark.parametrize(
    "routing_policy", [RoutingPolicy(use_custom=True, pins={"u1": Arm.CANDIDATE, "u2": Arm.BASELINE})]
)
async def test_a_pinned_subject_stays_in_its_arm_and_is_no_evidence(world: World) -> None:
    await world.turn_to(rollout(1, 0.0, candidate=model_ref("v2")))
    done = await answered(world.scan)
    assert (done.assigned_arm, done.model_version, done.experiment) == (Arm.CANDIDATE, "v2", None)
    await world.turn_to(rollout(2, 1.0, candidate=model_ref("v2")))
    other = await world.scan(request("s2", "u2"))
    assert isinstance(other, ScanCompleted)
    assert (other.assigned_arm, other.experiment) == (Arm.BASELINE, None)
