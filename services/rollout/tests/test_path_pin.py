"""The operator's model by its path is a pinned experiment over the rollout's own state."""

from __future__ import annotations

from datetime import timedelta

import pytest

from savo_contracts.audit import AuditRecorded
from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.scans import Arm
from savo_rollout.aliases import aliases_of
from savo_rollout.errors import NotPossibleError
from savo_rollout.operator_commands import Command, StartSettings
from savo_rollout.state import MAX_EXPERIMENT
from savo_runtime.testing import published_by_outbox
from services.rollout.tests.events import NOON, completed, confirmed, failed, refused, registered
from services.rollout.tests.harness import Harness

MODEL = "best-1a2b3c4d"
OTHER = f"{'b' * (MAX_EXPERIMENT - 9)}-5e6f7a8b"
AUTOMATIC = StartSettings(use_custom_vision=True)


def by_path(share: float = 0.5, path: str = "runs/best.onnx") -> StartSettings:
    return StartSettings(use_custom_vision=True, pinned_share=share, model_path=path)


async def started(harness: Harness, start_settings: StartSettings) -> Harness:
    restarted = harness.restarted(start_settings)
    await restarted.rollout.start()
    return restarted


async def pinned(harness: Harness, start_settings: StartSettings | None = None) -> Harness:
    """The service with the model by path, whose clock stands at the events' time."""
    harness.clock.now = NOON
    return await started(harness, start_settings or by_path())


async def test_the_first_scan_opens_the_experiment_and_both_arms_are_counted(harness: Harness) -> None:
    service = await pinned(harness)
    report = await service.rollout.report()
    assert (report.state, report.share, report.experiment) == (RolloutState.PINNED, 0.5, None)
    await service.deliver(completed("s1", "u1", Arm.CANDIDATE, experiment=MODEL))
    await service.deliver(completed("s2", "u2", Arm.BASELINE, experiment=MODEL, cost_usd=1.2))
    await service.deliver(failed("s3", "u3", Arm.BASELINE, MODEL))
    await service.deliver(confirmed("s1", "u1", Arm.CANDIDATE, experiment=MODEL, kept=5, removed=1))
    report = await service.rollout.report()
    assert (report.state, report.share, report.experiment) == (RolloutState.PINNED, 0.5, MODEL)
    assert report.reason.startswith(f"by path: {MODEL} has 50% of the traffic")
    assert report.waiting_for == ["SAVO_CUSTOM_VISION_MODEL_PATH or SAVO_CUSTOM_VISION_ROLLOUT to be unset"]
    candidate, baseline = report.arms[Arm.CANDIDATE], report.arms[Arm.BASELINE]
    assert (candidate.scans, candidate.confirmed, candidate.answered_by_candidate) == (1, 1, 1)
    assert (baseline.scans, baseline.failed, baseline.confirmed) == (2, 1, 0)
    assert baseline.figures["cost_usd"].estimate == pytest.approx(0.6)
    assert candidate.figures["accuracy"].target == 0.8


async def test_the_published_state_names_the_experiment_and_no_candidate(harness: Harness) -> None:
    await harness.deliver(registered("v1"))
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    newest = (await service.published())[-1]
    assert (newest.state, newest.share, newest.experiment) == ("pinned", 0.5, MODEL)
    assert newest.candidate is None
    history = (await service.rollout.report()).history
    assert (history[0].experiment, history[0].by, history[0].state) == (MODEL, "settings", "pinned")


async def test_no_evidence_takes_a_step_and_no_alias_moves(harness: Harness) -> None:
    await harness.deliver(registered("v1"))
    aliases = aliases_of(await harness.trial())
    service = await pinned(harness)
    for number in range(40):
        await service.deliver(completed(f"s{number}", f"u{number}", experiment=MODEL))
        await service.deliver(confirmed(f"s{number}", f"u{number}", experiment=MODEL, kept=0, removed=6))
    await service.worker.decide()
    report = await service.rollout.report()
    assert (report.state, report.share, report.arms[Arm.CANDIDATE].confirmed) == (RolloutState.PINNED, 0.5, 40)
    assert aliases_of(await service.trial()) == aliases
    audited = [event for event in await published_by_outbox(service.runtime) if isinstance(event, AuditRecorded)]
    assert [event.action for event in audited if event.by == "settings" and event.action == "alias.moved"] == []


async def test_a_restart_with_the_same_settings_changes_nothing(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    before = await service.trial()
    service = await started(service, by_path())
    assert await service.trial() == before
    await service.deliver(completed("s2", "u2", experiment=MODEL))
    assert (await service.rollout.report()).arms[Arm.CANDIDATE].scans == 2


async def test_a_repeated_scan_is_counted_once(harness: Harness) -> None:
    service = await pinned(harness)
    for _ in range(2):
        await service.deliver(completed("s1", "u1", experiment=MODEL))
    report = await service.rollout.report()
    assert report.arms[Arm.CANDIDATE].scans == 1
    assert [entry.experiment for entry in report.history].count(MODEL) == 1


async def test_another_share_continues_the_experiment_in_a_new_step(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    await service.deliver(confirmed("s1", "u1", experiment=MODEL))
    service = await started(service, by_path(1.0))
    report = await service.rollout.report()
    assert (report.share, report.experiment) == (1.0, MODEL)
    assert (report.arms[Arm.CANDIDATE].confirmed, report.arms[Arm.CANDIDATE].confirmed_in_step) == (1, 0)


async def test_another_path_opens_another_experiment(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    service.clock.advance(60)
    service = await started(service, by_path(path="runs/other.onnx"))
    await service.deliver(completed("s2", "u2", experiment=MODEL))  # ended before the other path was set
    assert (await service.rollout.report()).experiment is None
    later = NOON + timedelta(minutes=2)
    await service.deliver(completed("s3", "u3").model_copy(update={"experiment": OTHER, "completed_at": later}))
    report = await service.rollout.report()
    assert (report.experiment, report.arms[Arm.CANDIDATE].scans) == (OTHER, 1)


async def test_another_file_at_the_path_opens_another_experiment_for_good(harness: Harness) -> None:
    service = await pinned(harness)
    for number, experiment in enumerate((MODEL, OTHER, MODEL)):
        await service.deliver(completed(f"s{number}", "u1", experiment=experiment))
    assert (await service.rollout.report()).experiment == OTHER
    service = await started(service, by_path())
    await service.deliver(completed("s4", "u1", experiment=MODEL))
    assert (await service.rollout.report()).experiment == MODEL


async def test_scans_that_name_the_path_or_come_too_early_open_no_experiment(harness: Harness) -> None:
    service = await pinned(harness)
    service.clock.advance(60)
    service = await started(service, by_path(0.25, "m.onnx"))
    await service.deliver(completed("s1", "u1", experiment="m.onnx"))
    await service.deliver(completed("s2", "u1", experiment="v1"))
    await service.deliver(confirmed("s2", "u1", experiment=MODEL))
    assert (await service.rollout.report()).experiment is None


@pytest.mark.parametrize(
    ("start_settings", "state", "share"),
    [
        (AUTOMATIC, RolloutState.RUNNING, 0.05),
        (StartSettings(use_custom_vision=True, model_path="runs/best.onnx"), RolloutState.RUNNING, 0.05),
        (StartSettings(use_custom_vision=True, pinned_share=0.25), RolloutState.PINNED, 0.25),
        (StartSettings(pinned_share=0.5, model_path="runs/best.onnx"), RolloutState.IDLE, 0.0),
    ],
)
async def test_without_the_pin_the_trial_of_the_registry_continues(
    harness: Harness, start_settings: StartSettings, state: RolloutState, share: float
) -> None:
    await harness.deliver(registered("v1"))
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    service = await started(service, start_settings)
    report = await service.rollout.report()
    assert (report.state, report.share, report.experiment) == (state, share, "v1")
    assert report.arms[Arm.CANDIDATE].scans == 0


async def test_a_pin_by_an_operator_outlives_the_pin_by_path(harness: Harness) -> None:
    await harness.deliver(registered("v1"))
    await harness.rollout.apply(Command(action="set", share=0.3, reason="a test", by="ada"))
    service = await pinned(harness)
    service = await started(service, AUTOMATIC)
    report = await service.rollout.report()
    assert (report.state, report.share, report.changed_by) == (RolloutState.PINNED, 0.3, "ada")


async def test_a_model_registered_meanwhile_begins_its_trial_afterwards(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(registered("v1"))
    await service.deliver(refused("v1"))
    assert (await service.rollout.report()).queued is not None
    service = await started(service, AUTOMATIC)
    report = await service.rollout.report()
    assert (report.state, report.experiment) == (RolloutState.RUNNING, "v1")


async def test_without_a_registered_model_the_rollout_is_idle_afterwards(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    service = await started(service, AUTOMATIC)
    report = await service.rollout.report()
    assert (report.state, report.share, report.experiment) == (RolloutState.IDLE, 0.0, None)
    published = [event for event in await published_by_outbox(service.runtime) if isinstance(event, RolloutChanged)]
    assert (published[-1].state, published[-1].share) == ("idle", 0.0)


async def test_operators_cannot_change_the_share_of_a_model_by_path(harness: Harness) -> None:
    service = await pinned(harness)
    with pytest.raises(NotPossibleError, match="SAVO_CUSTOM_VISION_MODEL_PATH"):
        await service.rollout.apply(Command(action="set", share=0.3, reason="a test", by="ada"))


async def test_an_erased_subject_leaves_the_evidence(harness: Harness) -> None:
    service = await pinned(harness)
    await service.deliver(completed("s1", "u1", experiment=MODEL))
    await service.rollout.erase_subject("u1")
    assert (await service.rollout.report()).arms[Arm.CANDIDATE].scans == 0
