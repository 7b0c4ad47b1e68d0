"""Gates: whether an arm meets the target of a measure, as pass, undecided or breach, by a confidence sequence.

**False passes.** A bad candidate misses at least one target, and a step up needs a pass of every gate. So the
probability of a false pass is at most that of the one missed gate (intersection–union test: R. L. Berger, Technometrics
24, 1982), and each gate may use the whole α. The evidence of an experiment is one sequence over all its steps, valid at
every moment, so α is not divided over steps either. The required certainty grows with the traffic at stake: 8α to leave
the first step, then 4α, then 2α, and α to become champion. The false-pass probability of the whole ladder stays ≤ α.

**False alarms.** A breach of any gate ends the trial, so here α is divided: over gates by the `alarm_share` of each
measure's row, whose sum is at most 1, and over steps by 1/(k(k+1)), which sums to 1 for any number of steps. The alarm
uses the evidence of the present step alone, so that good evidence at 5 % does not delay the alarm at 50 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from savo_contracts.measures import MEASURES, Measure
from savo_rollout.confidence_sequences import Values, log_wealth_above, log_wealth_below, lower_bound, upper_bound
from savo_rollout.evidence import ArmEvidence

__all__ = ["GatePolicy", "MeasureEstimate", "Verdict", "estimate_measure", "verdict"]

_ALPHA_FACTORS = (8.0, 4.0, 2.0)
_NO_VALUES = Values.of([])


class Verdict(StrEnum):
    """Result of a gate."""

    PASS = "pass"  # noqa: S105
    UNDECIDED = "undecided"
    BREACH = "breach"


@dataclass(frozen=True)
class GatePolicy:
    """Measures, targets, and the required certainty α.

    Raises `ValueError` when the alarm shares of the measures sum to more than 1.
    """

    targets: Mapping[str, float] = field(default_factory=dict)
    """By the measure's name, in its unit. A measure without an entry has the target of its row."""
    alpha: float = 0.05
    """Highest probability that a bad candidate passes the whole ladder.

    Also the highest probability that a false alarm rolls back a good candidate.
    """
    measures: tuple[Measure, ...] = MEASURES

    def __post_init__(self) -> None:
        total = sum(measure.alarm_share for measure in self.measures)
        if total > 1:
            raise ValueError(
                f"the alarm shares of the measures sum to {total}, which is more than the whole α (1); see ADR 5"
            )

    def pass_level(self, share_index: int) -> float:
        """α to leave the share number `share_index` of `STEPS`, counted from 0."""
        return min(0.5, self.alpha * _ALPHA_FACTORS[share_index]) if share_index < len(_ALPHA_FACTORS) else self.alpha

    def breach_level(self, measure: Measure, step_number: int) -> float:
        """α of a measure's alarm in a step of the experiment, numbered from 1. 0 means no alarm."""
        share = measure.alarm_share
        return self.alpha * share.numerator / (share.denominator * step_number * (step_number + 1))

    def target(self, measure: Measure) -> float:
        """The measure's target, in its own unit."""
        return self.targets.get(measure.name, measure.target)

    def threshold(self, measure: Measure) -> float:
        """The target on the scale of the values, 0…1."""
        return measure.statistic.threshold(self.target(measure))

    def values(self, figures: Mapping[Measure, float]) -> dict[Measure, float]:
        """A scan's figures as values 0…1 for the confidence sequences."""
        return {measure: measure.statistic.value(found, self.target(measure)) for measure, found in figures.items()}


@dataclass(frozen=True)
class MeasureEstimate:
    """One measure of one arm, for reports.

    Bounds are those of the mean over subjects at level α, valid at every moment. For a quantile they are those of the
    share of scans above the target.
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
    share_index: int,
    step_number: int,
    baseline: ArmEvidence | None = None,
) -> Verdict:
    """The candidate's verdict on one measure.

    `share_index` is the position of the share in `STEPS`, from 0; it determines the required certainty. `step_number`
    counts the steps of the experiment from 1; it determines the alarm's share of α.
    """
    threshold, level = policy.threshold(measure), policy.breach_level(measure, step_number)
    here = evidence.step_values.get(measure, _NO_VALUES)
    if not measure.must_be_proven:
        threshold = max(threshold, _baseline_bound(baseline, measure, level))
    if _wealth_against_target(measure, here, threshold) >= _required_wealth(level):
        return Verdict.BREACH
    if not measure.must_be_proven:
        return Verdict.PASS if here.subjects else Verdict.UNDECIDED  # undecided before the first scan
    wealth = _wealth_for_target(measure, evidence.first_values.get(measure, _NO_VALUES), threshold)
    sure = wealth >= _required_wealth(policy.pass_level(share_index))
    return Verdict.PASS if sure and _mean_agrees(measure, here.mean, threshold) else Verdict.UNDECIDED


def estimate_measure(
    measure: Measure,
    evidence: ArmEvidence,
    policy: GatePolicy,
    *,
    share_index: int,
    step_number: int,
    baseline: ArmEvidence | None = None,
) -> MeasureEstimate:
    """Estimate and bounds of a measure of an arm. The verdict has a meaning for the candidate only."""
    values, scale = evidence.first_values.get(measure, _NO_VALUES), measure.statistic.scale
    return MeasureEstimate(
        estimate=evidence.estimate(measure),
        lower=lower_bound(values, policy.alpha) * scale,
        upper=upper_bound(values, policy.alpha) * scale,
        target=policy.target(measure),
        verdict=verdict(measure, evidence, policy, share_index=share_index, step_number=step_number, baseline=baseline),
        subjects=values.subjects,
    )


def _required_wealth(level: float) -> float:
    """Log wealth that refutes at level α; infinite at level 0."""
    return -math.log(level) if level else math.inf


def _wealth_for_target(measure: Measure, values: Values, threshold: float) -> float:
    """Log wealth of the bets that the mean meets the target."""
    return (log_wealth_above if measure.higher_is_better else log_wealth_below)(values, threshold)


def _wealth_against_target(measure: Measure, values: Values, threshold: float) -> float:
    """Log wealth of the bets that the mean misses the target."""
    return (log_wealth_below if measure.higher_is_better else log_wealth_above)(values, threshold)


def _mean_agrees(measure: Measure, mean: float | None, threshold: float) -> bool:
    """Whether the mean of the present step also meets the target."""
    return mean is None or (mean > threshold if measure.higher_is_better else mean < threshold)


def _baseline_bound(baseline: ArmEvidence | None, measure: Measure, level: float) -> float:
    """Upper bound of the baseline. An outage of the provider affects both arms and must not count against one."""
    values = baseline.step_values.get(measure, _NO_VALUES) if baseline else _NO_VALUES
    return min(0.99, upper_bound(values, level)) if level and values.mean else 0.0
