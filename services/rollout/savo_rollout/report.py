"""Report of the rollout: the JSON document of GET /rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from savo_contracts.measures import Measure
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutState
from savo_contracts.scans import Arm
from savo_rollout.gates import GatePolicy, Verdict, estimate_measure
from savo_rollout.ports import HistoryEntry
from savo_rollout.state import Trial
from savo_rollout.steps import Evidence, StepPolicy, share_index_of, waiting_for

__all__ = ["ArmReport", "MeasureReport", "Report"]


class MeasureReport(BaseModel):
    """One measure of one arm. Bounds are valid at every moment.

    For a quantile they are bounds of the share of scans above the target: below 0.05 meets the target of a p95.
    """

    estimate: float | None
    lower: float | None = Field(description="None before the first subject.")
    upper: float | None = Field(description="None before the first subject.")
    target: float
    verdict: Verdict | None = Field(description="Result of the candidate's gate; None for the baseline.")


class ArmReport(BaseModel):
    """Counts of one arm. The JSON object also has each measure as a key."""

    scans: int
    failed: int
    confirmed: int
    confirmed_in_step: int
    subjects: int
    answered_by_candidate: int = Field(description="Scans that the candidate answered itself, without a fallback.")
    fallback_share: float | None = Field(
        description="Share of the candidate's answered scans that fell back. None for the baseline and without scans.",
    )
    figures: dict[str, MeasureReport] = Field(
        description="By the measure's name. In JSON they are keys of the arm's object."
    )

    @model_serializer(mode="wrap")
    def _flattened(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = serialize(self)
        figures: dict[str, Any] = written.pop("figures")
        return written | figures


class HistoryReport(BaseModel):
    """One entry of the rollout history."""

    sequence: int
    at: datetime
    by: str
    state: str
    share: float
    experiment: str | None
    champion: str | None
    reason: str


class Report(BaseModel):
    """The document of GET /rollout."""

    state: RolloutState
    sequence: int
    experiment: str | None
    share: float
    candidate: ModelRef | None
    champion: ModelRef | None
    queued: ModelRef | None
    former: list[str] = Field(
        description="Former champions, the latest first: a revert returns to them in this order.",
    )
    serving: bool = Field(description="SAVO_USE_CUSTOM_VISION: whether trained models answer scans.")
    reason: str
    changed_by: str
    changed_at: datetime
    step_started_at: datetime | None
    min_confirmed: int = Field(description="Confirmed scans that a step needs in each arm with traffic.")
    min_days_per_step: float
    alpha: float
    arms: dict[Arm, ArmReport]
    waiting_for: list[str]
    history: list[HistoryReport] = Field(description="Newest first.")

    @classmethod
    def of(
        cls,
        trial: Trial,
        evidence: Evidence,
        history: Sequence[HistoryEntry],
        policy: StepPolicy,
        now: datetime,
        *,
        serving: bool,
    ) -> Self:
        return cls(
            state=trial.state,
            sequence=trial.sequence,
            experiment=trial.experiment,
            share=trial.share,
            candidate=trial.candidate,
            champion=trial.champion,
            queued=trial.queued,
            former=[model.version for model in reversed(trial.former)],
            serving=serving,
            reason=trial.reason,
            changed_by=trial.changed_by,
            changed_at=trial.changed_at,
            step_started_at=trial.step_started_at,
            min_confirmed=policy.min_confirmed,
            min_days_per_step=policy.min_days,
            alpha=policy.gates.alpha,
            arms={arm: _arm(arm, trial, evidence, policy.gates) for arm in Arm},
            waiting_for=waiting_for(trial, evidence, policy, now),
            history=[HistoryReport(**asdict(entry)) for entry in history],
        )


def _arm(arm: Arm, trial: Trial, evidence: Evidence, gates: GatePolicy) -> ArmReport:
    here = evidence[arm]
    figures = {measure.name: _figure(measure, arm, trial, evidence, gates) for measure in gates.measures}
    counts = {
        "scans": here.scans,
        "failed": here.failed,
        "confirmed": here.confirmed,
        "confirmed_in_step": here.confirmed_in_step,
    }
    own = {
        "answered_by_candidate": here.answered_by_candidate,
        "fallback_share": here.fallback_share if arm is Arm.CANDIDATE else None,
    }
    return ArmReport(**counts, **own, subjects=here.subjects, figures=figures)


def _figure(measure: Measure, arm: Arm, trial: Trial, evidence: Evidence, gates: GatePolicy) -> MeasureReport:
    position = {"share_index": share_index_of(trial.share), "step_number": max(1, trial.step)}
    found = estimate_measure(measure, evidence[arm], gates, baseline=evidence[Arm.BASELINE], **position)
    known = found.subjects > 0
    return MeasureReport(
        estimate=found.estimate,
        lower=round(found.lower, 6) if known else None,
        upper=round(found.upper, 6) if known else None,
        target=found.target,
        verdict=found.verdict if arm is Arm.CANDIDATE else None,
    )
