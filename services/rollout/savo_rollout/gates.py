"""The owner's numbers as gates, each answered by a confidence sequence: pass, undecided or breach.

**False passes.** A bad candidate misses at least one target, and the ladder is climbed only when every gate passes: so
the probability of a false pass is at most that of the one gate it misses (intersection–union test: R. L. Berger,
Technometrics 24, 1982), and each gate may use the whole α. The evidence of an experiment is one sequence over all its
steps, valid at every moment, so steps need no share of α either. How sure one must be grows with the traffic at stake:
8α for leaving the first step, then 4α, then 2α, and α for becoming champion: the whole ladder's false pass stays ≤ α.

**False alarms.** Any one gate's breach ends the trial, so there α is divided: over the gates by the `alarm_share` of
each measure's row, whose sum is at most 1, and over steps as 1/(k(k+1)), which sums to 1 however many steps an operator
adds. The alarm looks at the present step alone: a model that was good at 5 % and turns bad at 50 % has no credit to use
up first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from savo_contracts.measures import MEASURES, Measure
from savo_rollout.confidence_sequences import Values, log_wealth_above, log_wealth_below, lower_bound, upper_bound
from savo_rollout.evidence import ArmEvidence

__all__ = ["Figure", "GatePolicy", "Verdict", "figure", "verdict"]

_EAGERNESS = (8.0, 4.0, 2.0)
_NOTHING = Values.of([])


class Verdict(StrEnum):
    """A gate's answer."""

    PASS = "pass"  # noqa: S105
    UNDECIDED = "undecided"
    BREACH = "breach"


@dataclass(frozen=True)
class GatePolicy:
    """Which measures are judged, by which targets, and how sure to be.

    Raises `ValueError` when the alarms of the measures would use more than α together.
    """

    targets: Mapping[str, float] = field(default_factory=dict)
    """By the measure's name, in its unit; a measure without an entry keeps the target of its row."""
    alpha: float = 0.05
    """Probability that a bad candidate passes the whole ladder, at most.

    Also the probability that a good one is sent back by a false alarm, at most.
    """
    measures: tuple[Measure, ...] = MEASURES

    def __post_init__(self) -> None:
        total = sum(measure.alarm_share for measure in self.measures)
        if total > 1:
            raise ValueError(f"the alarm shares of the measures sum to {total}, more than the whole α (ADR 5)")

    def pass_level(self, rung: int) -> float:
        """α for leaving the ladder's step number `rung`, from 0."""
        return min(0.5, self.alpha * _EAGERNESS[rung]) if rung < len(_EAGERNESS) else self.alpha

    def breach_level(self, measure: Measure, step: int) -> float:
        """α of a measure's alarm in the experiment's step number `step`, from 1. 0: the measure has no alarm."""
        share = measure.alarm_share
        return self.alpha * share.numerator / (share.denominator * step * (step + 1))

    def target(self, measure: Measure) -> float:
        """In the measure's own unit."""
        return self.targets.get(measure.name, measure.target)

    def threshold(self, measure: Measure) -> float:
        """The target on the scale of the values, 0…1."""
        return measure.statistic.threshold(self.target(measure))

    def values(self, figures: Mapping[Measure, float]) -> dict[Measure, float]:
        """A scan's figures as the values, 0…1, that the confidence sequences bet on."""
        return {measure: measure.statistic.value(found, self.target(measure)) for measure, found in figures.items()}


@dataclass(frozen=True)
class Figure:
    """One measure of one arm as people read it.

    Bounds are of the mean over subjects, at level α, at every moment; for a quantile, of the share of scans above it.
    """

    estimate: float | None
    lower: float
    upper: float
    target: float
    verdict: Verdict
    subjects: int


def verdict(
    measure: Measure,
    evidence: ArmEvidence,
    policy: GatePolicy,
    *,
    rung: int,
    step: int,
    baseline: ArmEvidence | None = None,
) -> Verdict:
    """The candidate's answer to one gate.

    `rung` is the place on the ladder (how sure to be), `step` the count of steps so far (the alarm's share of α).
    """
    threshold, level = policy.threshold(measure), policy.breach_level(measure, step)
    here = evidence.step.get(measure, _NOTHING)
    if not measure.must_be_proven:
        threshold = max(threshold, _surely_of(baseline, measure, level))
    if _against(measure, here, threshold) >= _wealth_needed(level):
        return Verdict.BREACH
    if not measure.must_be_proven:
        return Verdict.PASS if here.subjects else Verdict.UNDECIDED  # without a scan nothing was asked of it yet
    wealth = _in_favour(measure, evidence.first.get(measure, _NOTHING), threshold)
    sure = wealth >= _wealth_needed(policy.pass_level(rung))
    return Verdict.PASS if sure and _right_side(measure, here.mean, threshold) else Verdict.UNDECIDED


def figure(
    measure: Measure,
    evidence: ArmEvidence,
    policy: GatePolicy,
    *,
    rung: int,
    step: int,
    baseline: ArmEvidence | None = None,
) -> Figure:
    """A measure of an arm with its bounds; the verdict is meant for the candidate's."""
    values, scale = evidence.first.get(measure, _NOTHING), measure.statistic.scale
    return Figure(
        estimate=evidence.estimate(measure),
        lower=lower_bound(values, policy.alpha) * scale,
        upper=upper_bound(values, policy.alpha) * scale,
        target=policy.target(measure),
        verdict=verdict(measure, evidence, policy, rung=rung, step=step, baseline=baseline),
        subjects=values.subjects,
    )


def _wealth_needed(level: float) -> float:
    """The log wealth that refutes at level α; at level 0 nothing does."""
    return -math.log(level) if level else math.inf


def _in_favour(measure: Measure, values: Values, threshold: float) -> float:
    return (log_wealth_above if measure.higher_is_better else log_wealth_below)(values, threshold)


def _against(measure: Measure, values: Values, threshold: float) -> float:
    return (log_wealth_below if measure.higher_is_better else log_wealth_above)(values, threshold)


def _right_side(measure: Measure, mean: float | None, threshold: float) -> bool:
    """Evidence is carried from step to step; the present step's own mean must not contradict it."""
    return mean is None or (mean > threshold if measure.higher_is_better else mean < threshold)


def _surely_of(baseline: ArmEvidence | None, measure: Measure, level: float) -> float:
    """What the baseline may be at: an outage of the provider hits both arms and is not the candidate's fault."""
    values = baseline.step.get(measure, _NOTHING) if baseline else _NOTHING
    return min(0.99, upper_bound(values, level)) if level and values.mean else 0.0
