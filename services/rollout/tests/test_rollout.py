"""The service on a database: what it hears, what it decides, what it says."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from savo_contracts.documents import Alias, alias_key
from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST
from savo_contracts.rollout import STEPS, RolloutState
from savo_contracts.scans import Arm, ScanErased
from savo_contracts.users import SubjectErased
from savo_rollout.adapters.tables import Base
from savo_rollout.control import Command, Switches
from savo_rollout.steps import StepPolicy
from savo_runtime.errors import DependencyDownError
from savo_runtime.testing import assert_migrations_match
from services.rollout.tests.events import NOON, NOT_LOADED, completed, confirmed, failed, refused, registered
from services.rollout.tests.harness import House


async def scans(house: House, count: int, arm: Arm = Arm.CANDIDATE, *, removed: int = 0, **changes: Any) -> None:
    trial = await house.trial()
    names = [f"{trial.experiment}-{arm}-{trial.step}-{number}" for number in range(count)]
    await asyncio.gather(*[one_scan(house, name, arm, removed, trial.experiment or "v1", **changes) for name in names])


async def one_scan(house: House, name: str, arm: Arm, removed: int, experiment: str, **changes: Any) -> None:
    await house.hears(completed(f"scan-{name}", f"subject-{name}", arm, experiment=experiment, **changes))
    await house.hears(
        confirmed(f"scan-{name}", f"subject-{name}", arm, kept=6 - removed, removed=removed, experiment=experiment)
    )


async def climb(house: House) -> list[float]:
    shares = []
    for _ in STEPS:
        trial = await house.trial()
        shares.append(trial.share)
        await scans(house, 90 if trial.step == 1 else 25)
        await scans(house, 25, Arm.BASELINE)
    await house.trial()
    return shares


async def alias(house: House, name: str) -> str | None:
    return Alias.model_validate_json(await house.store.get(alias_key(name))).version


async def test_migrations_make_the_tables_of_the_code() -> None:
    await assert_migrations_match("savo_rollout.migrations", Base.metadata)


async def test_the_first_model_begins_its_trial_at_5_per_cent_against_the_provider(house: House) -> None:
    await house.hears(registered())
    begun = (await house.published())[-1]
    assert (begun.state, begun.experiment, begun.share, begun.champion) == (RolloutState.RUNNING, "v1", 0.05, None)


async def test_a_good_candidate_climbs_every_step_and_becomes_champion(house: House) -> None:
    await house.hears(registered())
    assert await climb(house) == list(STEPS)
    done = (await house.published())[-1]
    assert (done.state, done.experiment, done.candidate, done.share) == (RolloutState.COMPLETED, None, None, 0.0)
    assert done.champion is not None
    assert done.champion.version == "v1"
    assert "accuracy 100.0%" in done.reason


async def test_a_second_turn_tries_the_new_model_against_the_champion(house: House) -> None:
    await house.hears(registered())
    await climb(house)
    await house.hears(registered("v2"))
    begun = (await house.published())[-1]
    assert (begun.experiment, begun.share, begun.champion.version if begun.champion else None) == ("v2", 0.05, "v1")
    await climb(house)
    assert (await house.trial()).champion.version == "v2"  # type: ignore[union-attr]


async def test_a_sure_breach_takes_all_traffic_away_and_says_why(house: House) -> None:
    await house.hears(registered())
    await scans(house, 40, removed=4)
    assert (await house.trial()).state is RolloutState.ROLLED_BACK
    last = (await house.published())[-1]
    assert (last.share, last.state) == (0.0, RolloutState.ROLLED_BACK)
    assert "accuracy surely misses 80.0%" in last.reason
    assert "correction rate 100.0%" in last.reason


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"duration_ms": 1500.0}, "p95 latency"), ({"cost_usd": 0.9}, "mean cost")],
)
async def test_slow_or_dear_candidates_are_sent_back(house: House, changes: dict[str, Any], word: str) -> None:
    await house.hears(registered())
    await scans(house, 40, **changes)
    assert f"{word} surely misses" in (await house.trial()).reason


async def test_failures_send_a_candidate_back_unless_the_baseline_fails_as_often(house: House) -> None:
    await house.hears(registered())
    await asyncio.gather(*[house.hears(failed(f"b{number}", f"base-{number}", Arm.BASELINE)) for number in range(40)])
    await asyncio.gather(*[house.hears(failed(f"c{number}", f"cand-{number}")) for number in range(40)])
    assert (await house.trial()).state is RolloutState.RUNNING
    await asyncio.gather(
        *[house.hears(completed(f"b{number}", f"base-{number}", Arm.BASELINE)) for number in range(40, 400)]
    )
    assert "failure rate surely misses" in (await house.trial()).reason


async def test_no_step_is_taken_before_the_days_have_passed(house: House) -> None:
    house = house.restarted(policy=StepPolicy(min_confirmed=20, min_days=7))
    await house.hears(registered())
    await scans(house, 90)
    await scans(house, 25, Arm.BASELINE)
    assert (await house.trial()).share == 0.05
    assert (await house.rollout.report()).waiting_for == ["7.0 more days in this step"]
    house.clock.advance(days=7)
    assert (await house.trial()).share == 0.25


async def test_a_confirmation_may_come_before_its_completion_and_repeats_change_nothing(house: House) -> None:
    await house.hears(registered())
    once = uuid4()
    for _ in range(2):
        await house.hears(confirmed("s", "anna", kept=5, removed=1), once)
        await house.hears(completed("s", "anna"))
    arm = (await house.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.scans, arm.confirmed, arm.subjects) == (1, 1, 1)
    assert arm.figures[ACCURACY.name].estimate == pytest.approx(5 / 6)


async def test_the_last_confirmation_of_a_scan_counts_also_when_the_older_one_comes_late(house: House) -> None:
    await house.hears(registered())
    await house.hears(confirmed("s", "anna", kept=3, removed=3, revision=2))
    await house.hears(confirmed("s", "anna", kept=6, revision=1))
    arm = (await house.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.confirmed, arm.figures[ACCURACY.name].estimate, arm.figures[CORRECTION_RATE.name].estimate) == (
        1,
        0.5,
        1.0,
    )


async def test_a_subject_has_one_voice_however_often_it_scans(house: House) -> None:
    await house.hears(registered())
    for number in range(30):
        await house.hears(confirmed(f"s{number}", "anna", kept=0, removed=6))
    async with house.rollout.ledger.read_only() as transaction:
        evidence = (await transaction.evidence("v1", 1))[Arm.CANDIDATE]
    assert (evidence.confirmed, evidence.first[ACCURACY].subjects) == (30, 1)
    assert (await house.trial()).state is RolloutState.RUNNING


async def test_evidence_counts_by_the_arm_assigned_but_not_where_no_model_was_loaded(house: House) -> None:
    await house.hears(registered())
    await house.hears(
        completed("a", "anna", served_by="google", model_version="gemini", fallback_reason="low-confidence")
    )
    await house.hears(completed("b", "ben", **NOT_LOADED))
    arm = (await house.rollout.report()).arms[Arm.CANDIDATE]
    assert (arm.scans, arm.answered_by_candidate) == (1, 0)


async def test_the_fallback_share_stands_beside_the_cost(house: House) -> None:
    await house.hears(registered())
    before = (await house.rollout.report()).arms[Arm.CANDIDATE]
    assert before.fallback_share is None
    for number in range(3):
        await house.hears(completed(f"own-{number}", "anna"))
    await house.hears(
        completed(
            "weak", "ben", served_by="google", model_version="gemini", fallback_reason="low-confidence", cost_usd=0.004
        )
    )
    await house.hears(failed("broken", "carl"))
    await house.hears(completed("theirs", "dora", Arm.BASELINE))
    arms = (await house.rollout.report()).arms
    assert arms[Arm.CANDIDATE].fallback_share == 0.25
    assert arms[Arm.CANDIDATE].figures[COST.name].estimate is not None
    assert arms[Arm.BASELINE].fallback_share is None


async def test_scans_of_another_experiment_are_no_evidence(house: House) -> None:
    await house.hears(registered())
    await house.hears(completed("a", "anna", experiment="v7"))
    await house.hears(failed("b", "ben", None, None))
    assert (await house.rollout.report()).arms[Arm.CANDIDATE].scans == 0


async def test_a_model_that_arrives_during_a_trial_waits_and_the_newest_wins(house: House) -> None:
    for version in ("v1", "v2", "v3"):
        await house.hears(registered(version))
    assert (await house.trial()).experiment == "v1"
    await scans(house, 40, removed=4)
    await house.trial()
    states = [(event.state, event.experiment, event.share) for event in await house.published()]
    assert states[-2:] == [("rolled-back", "v1", 0.0), ("running", "v3", 0.05)]


async def test_a_repeated_registration_starts_no_second_trial(house: House) -> None:
    await house.hears(registered())
    await scans(house, 40, removed=4)
    await house.trial()
    await house.hears(registered())
    assert (await house.trial()).state is RolloutState.ROLLED_BACK


async def test_a_candidate_that_is_not_served_pauses_with_the_reason(house: House) -> None:
    await house.hears(registered())
    await house.hears(refused("v9"))
    assert (await house.trial()).state is RolloutState.RUNNING
    await house.hears(refused())
    trial = await house.trial()
    assert (trial.state, trial.share) == (RolloutState.PAUSED, 0.05)
    assert "classes differ" in trial.reason


async def test_a_restart_announces_the_same_state_again(house: House) -> None:
    await house.hears(registered())
    await house.restarted().rollout.start()
    last, before = (await house.published())[-1], (await house.published())[-2]
    assert last == before


async def test_aliases_follow_the_state_also_after_a_crash_in_between(house: House) -> None:
    await house.hears(registered())
    await house.worker.decide()
    assert await alias(house, "challenger") == "v1"
    await climb(house)  # decided, and then the process died before the aliases moved
    await house.restarted().worker.decide()
    assert (await alias(house, "champion"), await alias(house, "challenger")) == ("v1", None)


async def test_custom_vision_switched_off_remembers_models_and_starts_nothing(house: House) -> None:
    off = house.restarted(Switches(use_custom_vision=False))
    await off.rollout.start()
    await off.hears(registered())
    assert (await off.trial()).share == 0.0
    on = house.restarted(Switches(use_custom_vision=True))
    await on.rollout.start()
    assert ((await on.trial()).experiment, (await on.trial()).share) == ("v1", 0.05)


async def test_switching_off_during_a_trial_takes_its_traffic_and_on_again_starts_it_over(house: House) -> None:
    await house.hears(registered())
    off = house.restarted(Switches(use_custom_vision=False))
    await off.rollout.start()
    assert ((await off.trial()).state, (await off.trial()).share) == (RolloutState.IDLE, 0.0)
    await house.restarted().rollout.start()
    assert ((await house.trial()).state, (await house.trial()).share) == (RolloutState.RUNNING, 0.05)


async def test_a_pin_by_setting_holds_for_the_next_model_and_rests_the_automation(house: House) -> None:
    pinned = house.restarted(Switches(use_custom_vision=True, pinned_share=0.4))
    await pinned.hears(registered())
    await scans(pinned, 40, removed=4)
    assert ((await pinned.trial()).state, (await pinned.trial()).share) == (RolloutState.PINNED, 0.4)
    await house.restarted().rollout.start()
    lifted = (await house.published())[-1]
    assert (lifted.state, lifted.share) == (RolloutState.RUNNING, 0.25)


async def test_erased_scans_and_subjects_leave_no_trace_and_do_not_come_back(house: House) -> None:
    await house.hears(registered())
    await house.hears(completed("a", "anna"))
    await house.hears(completed("b", "ben"))
    await house.hears(ScanErased(scan_id="a", subject="anna", erased_at=NOON))
    await house.hears(SubjectErased(subject="ben", erased_at=NOON))
    await house.hears(completed("a", "anna"))
    await house.hears(confirmed("c", "ben"))
    assert (await house.rollout.report()).arms[Arm.CANDIDATE].scans == 0


async def test_two_replicas_that_decide_at_once_make_one_change(house: House) -> None:
    await house.hears(registered())
    await scans(house, 40, removed=4)
    await asyncio.gather(house.worker.decide(), house.restarted().worker.decide())
    assert [event.state for event in await house.published()].count(RolloutState.ROLLED_BACK) == 1


async def test_every_change_is_in_the_audit_log_with_who_and_why(house: House) -> None:
    await house.hears(registered())
    await house.rollout.apply(Command(action="pause", reason="looking into a complaint", by="mia"))
    newest = (await house.rollout.report()).history[0]
    assert (newest.by, newest.reason, newest.state, newest.share) == ("mia", "looking into a complaint", "paused", 0.05)


async def test_scans_that_come_together_are_written_together_and_a_failed_write_loses_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.hears(registered())
    original, turns = house.runtime.database.session, []

    def counted(**options: Any) -> Any:
        turns.append(options)
        if len(turns) == 1:
            raise DependencyDownError("database", "away")
        return original(**options)

    monkeypatch.setattr(house.runtime.database, "session", counted)
    outcomes = await asyncio.gather(
        *[house.hears(completed(f"s{number}", f"u{number}")) for number in range(50)], return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome] == [DependencyDownError]
    assert len(turns) <= 3
    assert (await house.rollout.report()).arms[Arm.CANDIDATE].scans == 49
