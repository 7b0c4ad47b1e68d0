"""The rows of the measures, each on its own and all together."""

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


def test_names_are_what_tables_json_and_reports_have_always_had() -> None:
    names = [measure.name for measure in MEASURES]
    assert names[:5] == ["accuracy", "correction_rate", "latency_p95_ms", "cost_usd", "failures"]
    assert len(set(names)) == len(names)


def test_targets_are_the_owners_numbers() -> None:
    targets = [measure.target for measure in (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)]
    assert targets == [0.80, 0.30, 1000.0, 0.10, 0.02]


def test_the_alarms_use_no_more_than_the_whole_alpha() -> None:
    assert sum(measure.alarm_share for measure in MEASURES) <= 1


def test_the_alarms_of_the_first_five_keep_their_share() -> None:
    """Another share is another promise to the owner: it goes into ADR 5 first."""
    first_five = (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)
    assert {measure.alarm_share for measure in first_five} == {Fraction(1, 5)}


@each
def test_a_name_fits_the_column_that_keeps_it(measure: Measure) -> None:
    assert len(measure.name) <= 20


@each
def test_the_threshold_lies_within_the_scale_of_the_values(measure: Measure) -> None:
    assert 0 < measure.statistic.threshold(measure.target) < 1


@each
def test_a_measure_that_need_not_be_proven_has_an_alarm_and_less_of_it_is_better(measure: Measure) -> None:
    if not measure.must_be_proven:
        assert measure.alarm_share > 0
        assert not measure.higher_is_better


def test_a_mean_scales_figures_by_the_most_that_a_scan_counts() -> None:
    mean = Mean(cap=1.5)
    assert [mean.value(figure, 0.1) for figure in (0.0, 0.75, 9.0)] == [0.0, 0.5, 1.0]
    assert mean.threshold(0.75) == 0.5


def test_a_quantile_asks_which_share_of_scans_is_above_the_target() -> None:
    p95 = Quantile(95)
    assert [p95.value(figure, 1000.0) for figure in (999.0, 1000.0, 1001.0)] == [0.0, 0.0, 1.0]
    assert p95.threshold(1000.0) == 0.05


def test_people_read_a_figure_in_its_unit_and_a_quantiles_bounds_as_shares() -> None:
    assert [ACCURACY.text(0.8), LATENCY.text(412.4), COST.text(0.0004)] == ["80.0%", "412 ms", "$0.0004"]
    assert (LATENCY.bound_text(0.043), COST.bound_text(0.1)) == ("4.3%", "$0.1000")
    assert (ACCURACY.sign, LATENCY.sign) == (">", "<")


@pytest.mark.parametrize("unit", Unit)
def test_every_unit_has_its_text(unit: Unit) -> None:
    assert unit.text(0.5)
