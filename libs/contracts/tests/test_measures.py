"""Measures of a rollout: names, targets, alarm shares and statistics."""

from __future__ import annotations

from fractions import Fraction

import pytest

from savo_contracts.measures import (
    ACCURACY,
    CORRECTION_RATE,
    COST,
    FAILURES,
    LATENCY,
    MEASURES,
    Mean,
    Measure,
    Quantile,
    Unit,
)

each = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


def test_names_in_tables_json_and_reports_never_change() -> None:
    names = [measure.name for measure in MEASURES]
    assert names[:5] == ["accuracy", "correction_rate", "latency_p95_ms", "cost_usd", "failures"]
    assert len(set(names)) == len(names)


def test_targets_are_the_product_owners() -> None:
    targets = [measure.target for measure in (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)]
    assert targets == [0.80, 0.30, 1000.0, 0.10, 0.02]


def test_all_alarms_together_use_at_most_alpha() -> None:
    assert sum(measure.alarm_share for measure in MEASURES) <= 1


def test_the_alarms_of_the_first_five_keep_their_share() -> None:
    """Another share changes what ADR 5 promises the product owner: change the ADR first."""
    first_five = (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)
    assert {measure.alarm_share for measure in first_five} == {Fraction(1, 5)}


@each
def test_a_name_fits_its_database_column(measure: Measure) -> None:
    assert len(measure.name) <= 20


@each
def test_the_scaled_target_is_between_0_and_1(measure: Measure) -> None:
    assert 0 < measure.statistic.threshold(measure.target) < 1


@each
def test_a_measure_without_proof_has_an_alarm_and_a_lower_figure_is_better(measure: Measure) -> None:
    if not measure.must_be_proven:
        assert measure.alarm_share > 0
        assert not measure.higher_is_better


def test_a_mean_caps_and_scales_figures() -> None:
    mean = Mean(cap=1.5)
    assert [mean.value(figure, 0.1) for figure in (0.0, 0.75, 9.0)] == [0.0, 0.5, 1.0]
    assert mean.threshold(0.75) == 0.5


def test_a_quantile_marks_scans_above_the_target() -> None:
    p95 = Quantile(95)
    assert [p95.value(figure, 1000.0) for figure in (999.0, 1000.0, 1001.0)] == [0.0, 0.0, 1.0]
    assert p95.threshold(1000.0) == 0.05


def test_figures_are_shown_in_their_unit_and_a_quantiles_bounds_as_shares() -> None:
    assert [ACCURACY.text(0.8), LATENCY.text(412.4), COST.text(0.0004)] == ["80.0%", "412 ms", "$0.0004"]
    assert (LATENCY.bound_text(0.043), COST.bound_text(0.1)) == ("4.3%", "$0.1000")
    assert (ACCURACY.sign, LATENCY.sign) == (">", "<")


@pytest.mark.parametrize("unit", Unit)
def test_every_unit_has_a_text_format(unit: Unit) -> None:
    assert unit.text(0.5)
