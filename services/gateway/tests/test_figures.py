"""/training/stats and /training/progress, from events that arrive twice and out of order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from savo_contracts.envelope import ImageRef
from savo_contracts.goals import GOALS, GoalFigure
from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesSuggested
from savo_contracts.samples import RejectionReason, SampleErased, SampleRejected, SampleStored, Split
from savo_contracts.training import Evaluation, RunOutcome, TrainingFinished, TrainingTrigger
from savo_gateway.figures.goals import goal_status
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""The time of the tests' clock."""


def sha(number: int) -> str:
    return f"{number:064x}"


def stored(
    number: int = 1,
    at: datetime = MONDAY,
    *,
    revision: int = 1,
    labels: dict[str, int] | None = None,
    size: int = 500_000,
    scan: str | None = None,
) -> SampleStored:
    image = ImageRef(key=f"samples/images/{sha(number)}.jpg", sha256=sha(number), bytes=size, width=640, height=480)
    values = {
        "split": Split.TRAIN,
        "labels": labels or {"tomato": 2, "milk": 1},
        "edited": False,
        "revision": revision,
        "stored_at": at,
    }
    return SampleStored(sha256=sha(number), scan_id=scan or f"s{number}", subject="anna", image=image, **values)


def erased(number: int, at: datetime) -> SampleErased:
    return SampleErased(sha256=sha(number), scan_id=f"s{number}", subject="anna", erased_at=at)


def rejected(number: int, reason: RejectionReason, at: datetime = MONDAY, scan: str | None = None) -> SampleRejected:
    return SampleRejected(
        sha256=sha(number), scan_id=scan or f"s{number}", subject="anna", reason=reason, rejected_at=at
    )


async def stats(gateway: Any) -> dict[str, Any]:
    return dict((await gateway.http.get("/training/stats")).json())


async def progress(gateway: Any) -> dict[str, Any]:
    return dict((await gateway.http.get("/training/progress")).json())


async def test_stats_has_exactly_the_seven_figures_and_always_a_time(gateway: GatewayHarness) -> None:
    assert await stats(gateway) == {
        "total_samples": 0,
        "samples_today": 0,
        "samples_this_week": 0,
        "average_detections_per_image": 0.0,
        "correction_rate": 0.0,
        "storage_size_mb": 0.0,
        "last_updated": gateway.clock().isoformat().replace("+00:00", "Z"),
    }


async def test_days_are_utc_weeks_begin_on_monday_and_megabytes_are_millions(gateway: GatewayHarness) -> None:
    gateway.clock.advance(days=2)
    for number, at in enumerate([MONDAY - timedelta(days=1), MONDAY, MONDAY + timedelta(days=2)], start=1):
        await gateway.deliver(stored(number, at, labels={"tomato": number}))
    figures = await stats(gateway)
    assert (figures["total_samples"], figures["samples_this_week"], figures["samples_today"]) == (3, 2, 1)
    assert (figures["average_detections_per_image"], figures["storage_size_mb"]) == (2.0, 1.5)
    assert figures["last_updated"] == "2026-01-07T12:00:00Z"


async def test_the_correction_rate_is_edited_scans_of_confirmed_scans(gateway: GatewayHarness) -> None:
    for number in range(4):
        requested = await gateway.scan(photo(seed=number))
        await gateway.deliver(completed(requested, tomato()))
        action = (
            {"label": "apple", "action": "renamed", "from_label": "tomato"}
            if number == 0
            else {"label": "tomato", "action": "kept"}
        )
        await gateway.http.post(f"/v1/scans/{requested.scan_id}/confirmation", json={"items": [action]})
    assert (await stats(gateway))["correction_rate"] == 0.25


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_correction_and_an_erasure_count_the_same_in_any_order(gateway: GatewayHarness, order: Any) -> None:
    events = [
        stored(1, MONDAY, labels={"tomato": 9}),
        stored(1, MONDAY + timedelta(minutes=1), revision=2),
        erased(1, MONDAY + timedelta(minutes=2)),
    ]
    for position in order:
        await gateway.deliver(events[position])
        await gateway.deliver(events[position])
    assert (await stats(gateway))["total_samples"] == 0
    assert (await progress(gateway))["per_class"] == {}


async def test_a_corrected_sample_counts_once_with_its_newest_labels(gateway: GatewayHarness) -> None:
    for event in (
        stored(1, MONDAY + timedelta(minutes=1), revision=2, labels={"apple": 4}),
        stored(1, MONDAY, labels={"tomato": 9}),
    ):
        await gateway.deliver(event)
    assert (await stats(gateway))["average_detections_per_image"] == 4
    assert (await progress(gateway))["per_class"] == {"apple": 4}


async def test_refusals_count_by_reason_once_per_scan_until_they_are_lifted(gateway: GatewayHarness) -> None:
    for event in (
        rejected(1, RejectionReason.BLURRED),
        rejected(1, RejectionReason.BLURRED),
        rejected(2, RejectionReason.NEEDS_CLASS),
        rejected(2, RejectionReason.NEEDS_BOXES, MONDAY + timedelta(minutes=1)),
        rejected(3, RejectionReason.DUPLICATE, scan="another"),
        stored(3, MONDAY + timedelta(minutes=5)),
        rejected(4, RejectionReason.NEEDS_CLASS),
        stored(4, MONDAY + timedelta(minutes=5)),
        stored(5, MONDAY + timedelta(minutes=5)),
        rejected(5, RejectionReason.NEEDS_CLASS),
    ):
        await gateway.deliver(event)
    assert (await progress(gateway))["refused_by_reason"] == {"blurred": 1, "duplicate": 1, "needs-boxes": 1}


async def test_progress_shows_runs_and_goals_with_their_figures(gateway: GatewayHarness) -> None:
    scores = Evaluation(map50=0.78, map50_lower=0.71, map50_upper=0.83, images=40, boxes=200)
    run = TrainingFinished(
        run_id="r1",
        outcome=RunOutcome.REGISTERED,
        version="v1",
        evaluation=scores,
        trigger=TrainingTrigger.SAMPLES,
        reasons=("0.78 ≥ 0.75",),
        seconds=60,
        finished_at=MONDAY,
    )
    model = {
        "version": "v1",
        "key": "k",
        "sha256": sha(9),
        "classes": ("tomato",),
        "run_id": "r1",
        "dataset_version": "d1",
        "bytes": 1,
        "image_size": 640,
    }
    await gateway.deliver(stored(1))
    for _ in range(2):
        await gateway.deliver(run)
        await gateway.deliver(ModelRegistered(evaluation=scores, registered_at=MONDAY, **model))
    gateway.clock.advance(days=1)
    shown = await progress(gateway)
    assert [(run["version"], run["outcome"], run["map50"], run["reasons"]) for run in shown["runs"]] == [
        ("v1", "registered", 0.78, ["0.78 ≥ 0.75"])
    ]
    rows = {(row["milestone"], row["figure"]): row for row in shown["goals"]}
    assert rows["month 3", "map50"] == {
        "milestone": "month 3",
        "figure": "map50",
        "goal": 0.75,
        "text": "0.75",
        "bound": "at_least",
        "now": 0.78,
        "due": "2026-04-05T12:00:00Z",
        "reached": True,
        "on_course": True,
    }
    assert rows["week 1", "samples"]["on_course"] is False, "1 sample after a day, where 100 in a week need 14"
    assert (rows["target", "map50"]["due"], rows["target", "map50"]["reached"]) == (None, False), "0.78 is not > 0.85"
    assert rows["month 6", "automated_retraining"]["now"] == 1.0, "new samples started the run"
    assert rows["from month 4", "samples_per_month"]["now"] == 1
    assert (shown["reference_cost_usd"], shown["cost_reduction_goal"]) == (1.5, 0.99)


async def test_suggested_recipes_are_stored(gateway: GatewayHarness) -> None:
    await gateway.deliver(
        RecipesSuggested(recipe_id="r", scan_id="s", subject="x", provider="openai", model="m", suggested_at=MONDAY)
    )


def test_a_cumulative_goal_is_on_course_when_its_part_equals_that_of_the_time() -> None:
    goal = next(goal for goal in GOALS if goal.figure is GoalFigure.SAMPLES and goal.days == 30)
    at = MONDAY + timedelta(days=3)
    assert goal_status(goal, 1000, MONDAY, at).on_course
    assert not goal_status(goal, 999, MONDAY, at).on_course
    assert goal_status(goal, 999, None, at).on_course is None
    assert goal_status(goal, 10_000, MONDAY, MONDAY + timedelta(days=400)).reached


async def test_samples_that_are_not_erased_are_counted_by_day_over_four_weeks(
    gateway: GatewayHarness,
) -> None:
    days = {
        1: MONDAY,
        2: MONDAY.replace(hour=0, minute=0),
        3: MONDAY - timedelta(days=1),
        4: MONDAY - timedelta(days=27),
        5: MONDAY - timedelta(days=28),
        6: MONDAY,
    }
    for number, at in days.items():
        await gateway.deliver(stored(number, at))
    await gateway.deliver(erased(6, MONDAY + timedelta(minutes=1)))
    assert (await progress(gateway))["samples_by_day"] == {"2026-01-05": 2, "2026-01-04": 1, "2025-12-09": 1}
