"""Measures: each has a figure in scans' events, and a further measure does not affect the others."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from savo_contracts.measures import ACCURACY, COST, FAILURES, LATENCY, MEASURES, Mean, Measure, Quantile, Unit
from savo_rollout.confidence_sequences import Values
from savo_rollout.evidence import (
    ESTIMATES,
    FIGURES,
    ArmEvidence,
    ConfirmedScan,
    EndedScan,
    completed_scan,
    confirmed_scan,
    failed_scan,
)
from savo_rollout.gates import GatePolicy, Verdict, verdict
from savo_rollout.steps import StepPolicy
from services.rollout.tests.events import completed, confirmed, failed
from services.rollout.tests.ladder_simulation import SIMULATED, Candidate, Stream, Traffic, climb

SIXTH = Measure(
    name="empty",
    title="empty rate",
    value_label="scans without an item",
    unit=Unit.SHARE,
    statistic=Mean(),
    higher_is_better=False,
    target=0.5,
    alarm_share=Fraction(0),
)
FIVE, SIX = GatePolicy(measures=SIMULATED), GatePolicy(measures=(*SIMULATED, SIXTH))


def figures(scan: EndedScan | ConfirmedScan | None) -> dict[str, float]:
    """Figures of the five measures, by name."""
    assert scan is not None
    return {measure.name: figure for measure, figure in scan.figures.items() if measure in SIMULATED}


def test_rows_and_value_functions_cover_the_same_measures() -> None:
    assert list(FIGURES) == list(MEASURES)
    assert set(ESTIMATES) <= set(MEASURES)


@pytest.mark.parametrize("measure", [measure for measure in MEASURES if isinstance(measure.statistic, Quantile)])
def test_a_quantile_has_an_estimate_of_the_ledger(measure: Measure) -> None:
    """The mean over its values would be a share of scans, which has another unit."""
    assert measure in ESTIMATES


def test_each_event_has_figures_of_its_measures() -> None:
    assert figures(completed_scan(completed("s", "anna", duration_ms=120.0, cost_usd=0.001))) == {
        "latency_p95_ms": 120.0,
        "cost_usd": 0.001,
        "failures": 0.0,
    }
    assert figures(failed_scan(failed("s", "anna"))) == {"cost_usd": 0.0, "failures": 1.0}
    assert figures(confirmed_scan(confirmed("s", "anna", kept=3, removed=1))) == {
        "accuracy": 0.75,
        "correction_rate": 1.0,
    }
    assert figures(confirmed_scan(confirmed("s", "anna", kept=0))) == {"correction_rate": 0.0}


def test_figures_become_values_by_the_configured_targets() -> None:
    policy = GatePolicy(targets={LATENCY.name: 100.0})
    assert policy.values({LATENCY: 120.0, COST: 0.75, ACCURACY: 2 / 3}) == {LATENCY: 1.0, COST: 0.5, ACCURACY: 0.6667}


def test_without_totals_the_estimate_is_the_mean_over_subjects() -> None:
    assert ArmEvidence().estimate(SIXTH) is None
    assert ArmEvidence(first_values={SIXTH: Values.of([(1.0, 1), (0.0, 3)])}).estimate(SIXTH) == 0.25
    assert ArmEvidence(first_values={ACCURACY: Values.of([(1.0, 1)])}).estimate(ACCURACY) is None, "accuracy has totals"


# a sixth measure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize("measure", SIMULATED, ids=lambda measure: measure.name)
def test_a_sixth_measure_leaves_the_level_of_every_other_alarm(measure: Measure, step: int) -> None:
    assert SIX.breach_level(measure, step) == FIVE.breach_level(measure, step) == 0.05 / (5 * step * (step + 1))


def test_the_alarms_of_all_measures_and_steps_use_no_more_than_alpha() -> None:
    spent = sum(SIX.breach_level(measure, step) for measure in SIX.measures for step in range(1, 1000))
    assert spent <= SIX.alpha
    assert spent == pytest.approx(SIX.alpha, rel=0.002)


def test_a_sixth_alarm_is_refused_while_the_others_use_the_whole_alpha() -> None:
    with pytest.raises(ValueError, match="sum to 11/10, which is more than the whole α"):
        GatePolicy(measures=(*SIMULATED, _alarmed(Fraction(1, 10))))


def test_a_sixth_alarm_is_accepted_when_another_measure_reduces_its_share() -> None:
    halved = replace(FAILURES, alarm_share=Fraction(1, 10))
    policy = GatePolicy(
        measures=(*(row for row in SIMULATED if row is not FAILURES), halved, _alarmed(Fraction(1, 10)))
    )
    assert sum(row.alarm_share for row in policy.measures) == 1


def test_a_measure_without_an_alarm_delays_a_candidate_but_never_ends_its_trial() -> None:
    always = Values.of([(1.0, 100_000)])
    evidence = ArmEvidence(first_values={SIXTH: always}, step_values={SIXTH: always})
    assert verdict(SIXTH, evidence, SIX, share_index=0, step_number=1) is Verdict.UNDECIDED
    assert math.isclose(SIX.breach_level(SIXTH, 1), 0.0)


RUNS = 20
CANDIDATES = {
    "good": Candidate(),
    "inaccurate": Candidate(accuracy=0.6),
    "corrected": Candidate(corrections=0.5),
    "slow": Candidate(slow=0.3),
    "expensive": Candidate(cost_usd=0.3),
    "failing": Candidate(failures=0.1),
}


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_sixth_measure_changes_no_simulated_decision(name: str) -> None:
    """The sixth measure is proven long before the others, so each run must climb and end at the same scans."""
    ended_as_expected = 0
    for seed in range(RUNS):
        stream = Stream.drawn(CANDIDATES[name], Traffic(subjects=4000, scans=12_000), np.random.default_rng([6, seed]))
        with_sixth = replace(stream, values={**stream.values, SIXTH: np.zeros_like(stream.values[FAILURES])})
        five = climb(stream, StepPolicy(min_days=0, gates=FIVE))
        assert climb(with_sixth, StepPolicy(min_days=0, gates=SIX)) == five, seed
        ended_as_expected += five.passed if name == "good" else five.rolled_back
    assert ended_as_expected >= 0.8 * RUNS, "the runs exercise both the ladder and the alarms"


def _alarmed(share: Fraction) -> Measure:
    return replace(SIXTH, alarm_share=share)
