"""The rollout service on a database: from consumed events to decisions and published events."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from savo_contracts.documents import Alias, alias_key
from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST
from savo_contracts.rollout import STEPS, RolloutState
from savo_contracts.scans import Arm, BoxSource, ScanErased
from savo_contracts.users import SubjectErased
from savo_rollout.adapters.tables import Base
from savo_rollout.operator_commands import Command, StartSettings
from savo_rollout.steps import StepPolicy
from savo_runtime.errors import DependencyDownError
from savo_runtime.testing import assert_migrations_match
from services.rollout.tests.events import NOON, NOT_LOADED, completed, confirmed, failed, refused, registered
from services.rollout.tests.harness import Harness


async def deliver_scans(
    harness: Harness, count: int, arm: Arm = Arm.CANDIDATE, *, removed: int = 0, **changes: Any
) -> None:
    trial = await harness.trial()
    names = [f"{trial.experiment}-{arm}-{trial.step}-{number}" for number in range(count)]
    await asyncio.gather(
        *[deliver_scan(harness, name, arm, removed, trial.experiment or "v1", **changes) for name in names]
    )


async def deliver_scan(harness: Harness, name: str, arm: Arm, removed: int, experiment: str, **changes: Any) -> None:
    await harness.deliver(completed(f"scan-{name}", f"subject-{name}", arm, experiment=experiment, **changes))
    await harness.deliver(
        confirmed(f"scan-{name}", f"subject-{name}", arm, kept=6 - removed, removed=removed, experiment=experiment)
    )


async def climb(harness: Harness) -> list[float]:
    shares = []
    for _ in STEPS:
        trial = await harness.trial()
        shares.append(trial.share)
        await deliver_scans(harness, 90 if trial.step == 1 else 25)
        await deliver_scans(harness, 25, Arm.BASELINE)
    await harness.trial()
    return shares


async def alias(harness: Harness, name: str) -> str | None:
    return Alias.model_validate_json(await harness.store.get(alias_key(name))).version


async def test_migrations_create_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_rollout.migrations", Base.metadata)


async def test_the_first_model_starts_at_5_per_cent_against_the_provider(harness: Harness) -> None:
    await harness.deliver(registered())
    begun = (await harness.published())[-1]
    assert (begun.state, begun.experiment, begun.share, begun.champion) == (RolloutState.RUNNING, "v1", 0.05, None)


async def test_a_good_candidate_climbs_every_step_and_becomes_champion(harness: Harness) -> None:
    await harness.deliver(registered())
    assert await climb(harness) == list(STEPS)
    done = (await harness.published())[-1]
    assert (done.state, done.experiment, done.candidate, done.share) == (RolloutState.COMPLETED, None, None, 0.0)
    assert done.champion is not None
    assert done.champion.version == "v1"
    assert "accuracy 100.0%" in done.reason


async def test_the_next_model_is_tried_against_the_champion(harness: Harness) -> None:
    await harness.deliver(registered())
    await climb(harness)
    await harness.deliver(registered("v2"))
    begun = (await harness.published())[-1]
    assert (begun.experiment, begun.share, begun.champion.version if begun.champion else None) == ("v2", 0.05, "v1")
    await climb(harness)
    assert (await harness.trial()).champion.version == "v2"  # type: ignore[union-attr]


async def test_a_breach_removes_all_traffic_with_its_reason(harness: Harness) -> None:
    await harness.deliver(registered())
    await deliver_scans(harness, 40, removed=4)
    assert (await harness.trial()).state is RolloutState.ROLLED_BACK
    last = (await harness.published())[-1]
    assert (last.share, last.state) == (0.0, RolloutState.ROLLED_BACK)
    assert "accuracy misses its target 80.0%" in last.reason
    assert "correction rate 100.0%" in last.reason


@pytest.mark.parametrize(
    ("changes", "measure"),
    [({"duration_ms": 1500.0}, "p95 latency"), ({"cost_usd": 0.9}, "mean cost")],
)
async def test_slow_or_expensive_candidates_are_rolled_back(
    harness: Harness, changes: dict[str, Any], measure: str
) -> None:
    await harness.deliver(registered())
    await deliver_scans(harness, 40, **changes)
    assert f"{measure} misses its target" in (await harness.trial()).reason


async def test_failures_roll_back_a_candidate_unless_the_baseline_fails_as_often(harness: Harness) -> None:
    await harness.deliver(registered())
    await asyncio.gather(
        *[harness.deliver(failed(f"b{number}", f"base-{number}", Arm.BASELINE)) for number in range(40)]
    )
    await asyncio.gather(*[harness.deliver(failed(f"c{number}", f"cand-{number}")) for number in range(40)])
    assert (await harness.trial()).state is RolloutState.RUNNING
    await asyncio.gather(
        *[harness.deliver(completed(f"b{number}", f"base-{number}", Arm.BASELINE)) for number in range(40, 400)]
    )
    assert "failure rate misses its target" in (await harness.trial()).reason


async def test_no_step_is_taken_before_the_days_have_passed(harness: Harness) -> None:
    harness = harness.restarted(policy=StepPolicy(min_confirmed=20, min_days=7))
    await harness.deliver(registered())
    await deliver_scans(harness, 90)
    await deliver_scans(harness, 25, Arm.BASELINE)
    assert (await harness.trial()).share == 0.05
    assert (await harness.rollout.report()).waiting_for == ["7.0 more days in this step"]
    harness.clock.advance(days=7)
    assert (await harness.trial()).share == 0.25


async def test_a_confirmation_may_precede_its_completion_and_repeats_change_nothing(harness: Harness) -> None:
    await harness.deliver(registered())
    event_id = uuid4()
    for _ in range(2):
        await harness.deliver(confirmed("s", "anna", kept=5, removed=1), event_id)
        await harness.deliver(completed("s", "anna"))
    arm = (await harness.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.scans, arm.confirmed, arm.subjects) == (1, 1, 1)
    assert arm.figures[ACCURACY.name].estimate == pytest.approx(5 / 6)


async def test_the_newest_revision_counts_even_when_an_older_one_arrives_later(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(confirmed("s", "anna", kept=3, removed=3, revision=2))
    await harness.deliver(confirmed("s", "anna", kept=6, revision=1))
    arm = (await harness.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.confirmed, arm.figures[ACCURACY.name].estimate, arm.figures[CORRECTION_RATE.name].estimate) == (
        1,
        0.5,
        1.0,
    )


async def test_the_decision_of_an_engineer_leaves_the_users_evidence_as_it_is(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(confirmed("s", "anna", kept=3, removed=3))
    reviewed = confirmed("s", "anna", kept=6, revision=2)
    by_engineer = tuple(item.model_copy(update={"box_source": BoxSource.ENGINEER}) for item in reviewed.items)
    await harness.deliver(reviewed.model_copy(update={"items": by_engineer}))
    await harness.deliver(reviewed.model_copy(update={"items": (), "experiment": None, "revision": 3}))
    arm = (await harness.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.confirmed, arm.figures[ACCURACY.name].estimate) == (1, 0.5)


async def test_a_subject_counts_once_however_often_it_scans(harness: Harness) -> None:
    await harness.deliver(registered())
    for number in range(30):
        await harness.deliver(confirmed(f"s{number}", "anna", kept=0, removed=6))
    async with harness.rollout.repository.read_only() as transaction:
        evidence = (await transaction.evidence("v1", 1))[Arm.CANDIDATE]
    assert (evidence.confirmed, evidence.first_values[ACCURACY].subjects) == (30, 1)
    assert (await harness.trial()).state is RolloutState.RUNNING


async def test_evidence_counts_by_assigned_arm_except_without_a_loaded_model(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(
        completed("a", "anna", served_by="google", model_version="gemini", fallback_reason="low-confidence")
    )
    await harness.deliver(completed("b", "ben", **NOT_LOADED))
    arm = (await harness.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.scans, arm.answered_by_candidate) == (1, 0)


async def test_the_report_has_fallback_share_and_cost(harness: Harness) -> None:
    await harness.deliver(registered())
    before = (await harness.rollout.report()).arms[Arm.CANDIDATE]
    assert before.fallback_share is None
    for number in range(3):
        await harness.deliver(completed(f"own-{number}", "anna"))
    await harness.deliver(
        completed(
            "weak", "ben", served_by="google", model_version="gemini", fallback_reason="low-confidence", cost_usd=0.004
        )
    )
    await harness.deliver(failed("broken", "carl"))
    await harness.deliver(completed("theirs", "dora", Arm.BASELINE))
    arms = (await harness.rollout.report()).arms
    assert arms[Arm.CANDIDATE].fallback_share == 0.25
    assert arms[Arm.CANDIDATE].figures[COST.name].estimate is not None
    assert arms[Arm.BASELINE].fallback_share is None


async def test_scans_of_another_experiment_are_no_evidence(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(completed("a", "anna", experiment="v7"))
    await harness.deliver(failed("b", "ben", None, None))
    assert (await harness.rollout.report()).arms[Arm.CANDIDATE].scans == 0


async def test_models_registered_during_a_trial_are_queued_and_the_newest_wins(harness: Harness) -> None:
    for version in ("v1", "v2", "v3"):
        await harness.deliver(registered(version))
    assert (await harness.trial()).experiment == "v1"
    await deliver_scans(harness, 40, removed=4)
    await harness.trial()
    states = [(event.state, event.experiment, event.share) for event in await harness.published()]
    assert states[-2:] == [("rolled-back", "v1", 0.0), ("running", "v3", 0.05)]


async def test_a_repeated_registration_starts_no_second_trial(harness: Harness) -> None:
    await harness.deliver(registered())
    await deliver_scans(harness, 40, removed=4)
    await harness.trial()
    await harness.deliver(registered())
    assert (await harness.trial()).state is RolloutState.ROLLED_BACK


async def test_a_candidate_that_vision_refuses_is_paused_with_the_reason(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(refused("v9"))
    assert (await harness.trial()).state is RolloutState.RUNNING
    await harness.deliver(refused())
    trial = await harness.trial()
    assert (trial.state, trial.share) == (RolloutState.PAUSED, 0.05)
    assert "classes differ" in trial.reason


async def test_a_restart_publishes_the_same_state_again(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.restarted().rollout.start()
    last, before = (await harness.published())[-1], (await harness.published())[-2]
    assert last == before


async def test_aliases_follow_the_state_after_a_crash_in_between(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.worker.decide()
    assert await alias(harness, "challenger") == "v1"
    await climb(harness)  # the process crashes after the decision and before the aliases move
    await harness.restarted().worker.decide()
    assert (await alias(harness, "champion"), await alias(harness, "challenger")) == ("v1", None)


async def test_without_custom_vision_models_are_queued_and_no_trial_starts(harness: Harness) -> None:
    off = harness.restarted(StartSettings(use_custom_vision=False))
    await off.rollout.start()
    await off.deliver(registered())
    assert (await off.trial()).share == 0.0
    on = harness.restarted(StartSettings(use_custom_vision=True))
    await on.rollout.start()
    assert ((await on.trial()).experiment, (await on.trial()).share) == ("v1", 0.05)


async def test_switching_custom_vision_off_and_on_restarts_the_trial(harness: Harness) -> None:
    await harness.deliver(registered())
    off = harness.restarted(StartSettings(use_custom_vision=False))
    await off.rollout.start()
    assert ((await off.trial()).state, (await off.trial()).share) == (RolloutState.IDLE, 0.0)
    await harness.restarted().rollout.start()
    assert ((await harness.trial()).state, (await harness.trial()).share) == (RolloutState.RUNNING, 0.05)


async def test_a_share_pinned_by_setting_applies_to_the_next_model(harness: Harness) -> None:
    pinned = harness.restarted(StartSettings(use_custom_vision=True, pinned_share=0.4))
    await pinned.deliver(registered())
    await deliver_scans(pinned, 40, removed=4)
    assert ((await pinned.trial()).state, (await pinned.trial()).share) == (RolloutState.PINNED, 0.4)
    await harness.restarted().rollout.start()
    lifted = (await harness.published())[-1]
    assert (lifted.state, lifted.share) == (RolloutState.RUNNING, 0.25)


async def test_erased_scans_and_subjects_are_deleted_and_do_not_come_back(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.deliver(completed("a", "anna"))
    await harness.deliver(completed("b", "ben"))
    await harness.deliver(ScanErased(scan_id="a", subject="anna", erased_at=NOON))
    await harness.deliver(SubjectErased(subject="ben", erased_at=NOON))
    await harness.deliver(completed("a", "anna"))
    await harness.deliver(confirmed("c", "ben"))
    assert (await harness.rollout.report()).arms[Arm.CANDIDATE].scans == 0


async def test_two_replicas_that_decide_concurrently_make_one_change(harness: Harness) -> None:
    await harness.deliver(registered())
    await deliver_scans(harness, 40, removed=4)
    await asyncio.gather(harness.worker.decide(), harness.restarted().worker.decide())
    assert [event.state for event in await harness.published()].count(RolloutState.ROLLED_BACK) == 1


async def test_every_change_is_in_the_audit_log_with_author_and_reason(harness: Harness) -> None:
    await harness.deliver(registered())
    await harness.rollout.apply(Command(action="pause", reason="looking into a complaint", by="mia"))
    newest = (await harness.rollout.report()).history[0]
    assert (newest.by, newest.reason, newest.state, newest.share) == ("mia", "looking into a complaint", "paused", 0.05)


async def test_concurrent_scans_share_a_transaction_and_a_failed_write_loses_none(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.deliver(registered())
    original, sessions = harness.runtime.database.session, []

    def counted(**options: Any) -> Any:
        sessions.append(options)
        if len(sessions) == 1:
            raise DependencyDownError("database", "connection refused")
        return original(**options)

    monkeypatch.setattr(harness.runtime.database, "session", counted)
    outcomes = await asyncio.gather(
        *[harness.deliver(completed(f"s{number}", f"u{number}")) for number in range(50)], return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome] == [DependencyDownError]
    assert len(sessions) <= 3
    assert (await harness.rollout.report()).arms[Arm.CANDIDATE].scans == 49
