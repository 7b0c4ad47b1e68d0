"""The owner's numbers as gates, each answered by a confidence sequence: pass, undecided or breach.

**False passes.** A bad candidate misses at least one target, and the ladder is climbed only when every gate passes: so the probability of a false pass
is at most that of the one gate it misses (intersection–union test: R. L. Berger, Technometrics 24, 1982), and each gate may use the whole α. The evidence of an
experiment is one sequence over all its steps, valid at every moment, so steps need no share of α either. How sure one must be grows with the traffic at stake:
8α for leaving the first step, then 4α, then 2α, and α for becoming champion: the whole ladder's false pass stays ≤ α.

**False alarms.** Any one gate's breach ends the trial, so there α is divided over the gates, and over steps as 1/(k(k+1)), which sums to 1 however many steps
an operator adds. The alarm looks at the present step alone: a model that was good at 5 % and turns bad at 50 % has no credit to use up first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from savo_contracts.figures import TARGETS, Targets
from savo_rollout.confidence_sequences import Values, log_wealth_above, log_wealth_below, lower_bound, upper_bound
from savo_rollout.evidence import ArmEvidence, Limits, Measure

__all__ = ["Figure", "GatePolicy", "Verdict", "figure", "verdict"]

SLOW_SHARE = 0.05
"""What p95 means: at most this share of scans is slower than the limit."""

_EAGERNESS = (8.0, 4.0, 2.0)
_NOTHING = Values.of([])


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105
    UNDECIDED = "undecided"
    BREACH = "breach"


@dataclass(frozen=True)
class GatePolicy:
    """Targets and how sure to be."""

    targets: Targets = TARGETS
    failure_limit: float = 0.02
    """Share of scans that may fail before it is a breach; more when the baseline surely fails as often."""
    alpha: float = 0.05
    """Probability that a bad candidate passes the whole ladder, at most; and that a good one is sent back by a false alarm, at most."""

    @property
    def limits(self) -> Limits:
        return Limits(latency_ms=self.targets.latency_p95_ms)

    def pass_level(self, rung: int) -> float:
        """α for leaving the ladder's step number `rung`, from 0."""
        return min(0.5, self.alpha * _EAGERNESS[rung]) if rung < len(_EAGERNESS) else self.alpha

    def breach_level(self, step: int) -> float:
        """α of one gate's alarm in the experiment's step number `step`, from 1."""
        return self.alpha / (len(Measure) * step * (step + 1))

    def target(self, measure: Measure) -> float:
        """In the measure's own unit."""
        return {
            Measure.ACCURACY: self.targets.accuracy,
            Measure.CORRECTION_RATE: self.targets.correction_rate,
            Measure.LATENCY: self.targets.latency_p95_ms,
            Measure.COST: self.targets.cost_usd,
            Measure.FAILURES: self.failure_limit,
        }[measure]

    def threshold(self, measure: Measure) -> float:
        """The target on the scale of the values, 0…1."""
        match measure:
            case Measure.LATENCY:
                return SLOW_SHARE
            case Measure.COST:
                return self.targets.cost_usd / self.limits.cost_cap_usd
            case _:
                return self.target(measure)


@dataclass(frozen=True)
class Figure:
    """One measure of one arm as people read it. Bounds are of the mean over subjects, at level α, at every moment; for latency, of the share of slow scans."""

    estimate: float | None
    lower: float
    upper: float
    target: float
    verdict: Verdict
    subjects: int


def verdict(measure: Measure, evidence: ArmEvidence, policy: GatePolicy, *, rung: int, step: int, baseline: ArmEvidence | None = None) -> Verdict:
    """The candidate's answer to one gate. `rung` is the place on the ladder (how sure to be), `step` the count of steps so far (the alarm's share of α)."""
    threshold = policy.threshold(measure)
    here = evidence.step.get(measure, _NOTHING)
    if measure is Measure.FAILURES:
        threshold = max(threshold, _surely_failing(baseline, policy.breach_level(step)))
        if _against(measure, here, threshold) >= -math.log(policy.breach_level(step)):
            return Verdict.BREACH
        return Verdict.PASS if here.subjects else Verdict.UNDECIDED  # without a scan nothing was asked of it yet
    if _against(measure, here, threshold) >= -math.log(policy.breach_level(step)):
        return Verdict.BREACH
    sure = _in_favour(measure, evidence.first.get(measure, _NOTHING), threshold) >= -math.log(policy.pass_level(rung))
    return Verdict.PASS if sure and _right_side(measure, here.mean, threshold) else Verdict.UNDECIDED


def figure(measure: Measure, evidence: ArmEvidence, policy: GatePolicy, *, rung: int, step: int, baseline: ArmEvidence | None = None) -> Figure:
    values = evidence.first.get(measure, _NOTHING)
    unit = policy.limits.cost_cap_usd if measure is Measure.COST else 1.0
    return Figure(
        estimate=evidence.estimate(measure),
        lower=lower_bound(values, policy.alpha) * unit,
        upper=upper_bound(values, policy.alpha) * unit,
        target=policy.target(measure),
        verdict=verdict(measure, evidence, policy, rung=rung, step=step, baseline=baseline),
        subjects=values.subjects,
    )


def _in_favour(measure: Measure, values: Values, threshold: float) -> float:
    return log_wealth_above(values, threshold) if measure is Measure.ACCURACY else log_wealth_below(values, threshold)


def _against(measure: Measure, values: Values, threshold: float) -> float:
    return log_wealth_below(values, threshold) if measure is Measure.ACCURACY else log_wealth_above(values, threshold)


def _right_side(measure: Measure, mean: float | None, threshold: float) -> bool:
    """Evidence is carried from step to step; the present step's own mean must not contradict it."""
    return mean is None or (mean > threshold if measure is Measure.ACCURACY else mean < threshold)


def _surely_failing(baseline: ArmEvidence | None, alpha: float) -> float:
    """What the baseline may be failing at: an outage of the provider hits both arms and is not the candidate's fault."""
    values = baseline.step.get(Measure.FAILURES, _NOTHING) if baseline else _NOTHING
    return min(0.99, upper_bound(values, alpha)) if values.values.size and (values.mean or 0.0) > 0.0 else 0.0
