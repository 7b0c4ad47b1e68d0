"""Trial rules: begin or queue a model, raise its share, roll back, promote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from savo_contracts.measures import Measure
from savo_contracts.models import ModelRef
from savo_contracts.rollout import STEPS, RolloutState
from savo_contracts.scans import Arm
from savo_rollout.evidence import ArmEvidence
from savo_rollout.gates import GatePolicy, Verdict, verdict
from savo_rollout.state import Trial

__all__ = [
    "Evidence",
    "StepPolicy",
    "begin",
    "begin_queued",
    "decide",
    "pause_unserved",
    "share_index_of",
    "start_or_queue",
    "waiting_for",
]

Evidence = Mapping[Arm, ArmEvidence]


@dataclass(frozen=True)
class StepPolicy:
    """Evidence that a step needs."""

    min_confirmed: int = 200
    """Confirmed scans in this step, in each arm that has traffic."""
    min_days: float = 7.0
    """Days in this step."""
    gates: GatePolicy = field(default_factory=GatePolicy)


def start_or_queue(trial: Trial, model: ModelRef, now: datetime) -> Trial:
    """Start the trial of a registered model, or queue it until the running trial ends. The queue keeps the newest."""
    if trial.is_live or (trial.queued and _number(trial.queued) > _number(model)):
        return replace(trial, queued=max((model, trial.queued or model), key=_number))
    return begin(replace(trial, queued=None), model, now)


def begin(trial: Trial, model: ModelRef, now: datetime) -> Trial:
    """Start a trial at the first share."""
    baseline = trial.champion.version if trial.champion else "the vision provider"
    begun = trial.next(
        RolloutState.RUNNING,
        f"{model.version} begins its trial against {baseline} at {STEPS[0]:.0%} of the traffic",
        now,
    )
    return replace(begun, candidate=model, step=0).at_share(STEPS[0], now)


def begin_queued(trial: Trial, now: datetime) -> Trial | None:
    """The queued model's trial; None without a queued model or while another trial is live."""
    if trial.queued is None or trial.is_live:
        return None
    return begin(replace(trial, queued=None), trial.queued, now)


def pause_unserved(trial: Trial, version: str, replica: str, reason: str, now: datetime) -> Trial | None:
    """Pause the trial of a candidate that a vision replica refused to load, until an operator resumes it.

    A refusal is no evidence against the model. None when the version is not the running trial's candidate.
    """
    if trial.pin or trial.state is not RolloutState.RUNNING or trial.experiment != version:
        return None
    return trial.next(RolloutState.PAUSED, f"{replica} does not serve {version}: {reason}", now)


def decide(trial: Trial, evidence: Evidence, policy: StepPolicy, now: datetime) -> Trial | None:
    """The next state by the evidence, or None. A pinned share is never changed, a paused one only by a breach."""
    if trial.pin or not trial.is_live or trial.state is RolloutState.PINNED:
        return None
    verdicts = _verdicts(trial, evidence, policy)
    if breached := [measure for measure, result in verdicts.items() if result is Verdict.BREACH]:
        return _roll_back(trial, evidence, policy, breached, now)
    if trial.state is RolloutState.PAUSED or _missing(trial, evidence, policy, verdicts, now):
        return None
    advance = _promote if trial.share >= STEPS[-1] else _raise_share
    return advance(trial, evidence, policy, now)


def waiting_for(trial: Trial, evidence: Evidence, policy: StepPolicy, now: datetime) -> list[str]:
    """What the next step still needs, as phrases for people."""
    if trial.pin:
        return ["SAVO_CUSTOM_VISION_MODEL_PATH or SAVO_CUSTOM_VISION_ROLLOUT to be unset"]
    match trial.state:
        case RolloutState.RUNNING:
            return _missing(trial, evidence, policy, _verdicts(trial, evidence, policy), now)
        case RolloutState.PAUSED:
            return ["an operator to resume the trial"]
        case RolloutState.PINNED:
            return ["the operator's pin to be lifted"]
        case _:
            return ["a model that passes its gate"]


def share_index_of(share: float) -> int:
    """Index of a share in `STEPS`. A share between two steps counts as the lower step."""
    return max((index for index, step in enumerate(STEPS) if step <= share), default=0)


def _verdicts(trial: Trial, evidence: Evidence, policy: StepPolicy) -> dict[Measure, Verdict]:
    position = {"share_index": share_index_of(trial.share), "step_number": max(1, trial.step)}
    candidate, baseline = evidence[Arm.CANDIDATE], evidence[Arm.BASELINE]
    gates = policy.gates
    return {measure: verdict(measure, candidate, gates, baseline=baseline, **position) for measure in gates.measures}


def _missing(
    trial: Trial,
    evidence: Evidence,
    policy: StepPolicy,
    verdicts: Mapping[Measure, Verdict],
    now: datetime,
) -> list[str]:
    needs = []
    for arm in (Arm.CANDIDATE, Arm.BASELINE) if trial.share < 1.0 else (Arm.CANDIDATE,):
        missing = policy.min_confirmed - evidence[arm].confirmed_in_step
        if missing > 0:
            needs.append(f"{missing} more confirmed scans of the {arm} in this step")
    left = (trial.step_started_at or now) + timedelta(days=policy.min_days) - now
    if left > timedelta(0):
        needs.append(f"{left / timedelta(days=1):.1f} more days in this step")
    undecided = (measure for measure, result in verdicts.items() if result is Verdict.UNDECIDED)
    return needs + [f"certainty about the {measure.title}" for measure in undecided]


def _raise_share(trial: Trial, evidence: Evidence, policy: StepPolicy, now: datetime) -> Trial:
    share = next(step for step in STEPS if step > trial.share)
    report = _report(evidence[Arm.CANDIDATE], policy.gates)
    reason = f"{trial.experiment} from {trial.share:.0%} to {share:.0%}: {report}"
    return trial.next(RolloutState.RUNNING, reason, now).at_share(share, now)


def _promote(trial: Trial, evidence: Evidence, policy: StepPolicy, now: datetime) -> Trial:
    reason = f"{trial.experiment} is champion: {_report(evidence[Arm.CANDIDATE], policy.gates)}"
    ended = trial.next(RolloutState.COMPLETED, reason, now)
    assert trial.candidate is not None, "a live trial has a candidate"
    return replace(ended.with_champion(trial.candidate), candidate=None, share=0.0, step=0, step_started_at=None)


def _roll_back(trial: Trial, evidence: Evidence, policy: StepPolicy, breached: list[Measure], now: datetime) -> Trial:
    gates = policy.gates
    missed = ", ".join(
        f"{measure.title} misses its target {measure.text(gates.target(measure))}" for measure in breached
    )
    report = _report(evidence[Arm.CANDIDATE], gates)
    reason = f"{trial.experiment} rolled back from {trial.share:.0%} to 0: {missed}; {report}"
    return replace(trial.next(RolloutState.ROLLED_BACK, reason, now), share=0.0, step_started_at=None)


def _report(arm: ArmEvidence, gates: GatePolicy) -> str:
    estimates = ((measure, arm.estimate(measure)) for measure in gates.measures)
    figures = [f"{measure.title} {measure.text(value)}" for measure, value in estimates if value is not None]
    scans = f"{arm.confirmed} confirmed of {arm.scans} scans by {arm.subjects} subjects"
    return f"{', '.join(figures)} over {scans} (α {gates.alpha:g})"


def _number(model: ModelRef) -> int:
    return int(model.version[1:])
