"""Confidence sequences: bounds, wealth and their error probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_rollout.confidence_sequences import (
    STAKES,
    WEIGHTS,
    Values,
    log_wealth_above,
    log_wealth_below,
    log_wealth_path,
    lower_bound,
    upper_bound,
)

histograms = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=8)


def test_the_starting_wealth_is_one() -> None:
    assert math.isclose(WEIGHTS.sum(), 1.0)
    assert log_wealth_above(Values.of([]), 0.5) == pytest.approx(0.0)
    assert (STAKES < 1).all(), "a stake of 1 could lose the whole wealth"


@given(histograms)
def test_the_observed_mean_lies_between_the_bounds(pairs: list[tuple[float, int]]) -> None:
    values = Values.of(pairs)
    mean = values.mean
    assert mean is not None
    assert lower_bound(values, 0.05) - 1e-6 <= mean <= upper_bound(values, 0.05) + 1e-6


@given(histograms, st.floats(0.01, 0.98))
def test_the_lower_bound_exceeds_a_mean_exactly_when_the_wealth_refutes_it(
    pairs: list[tuple[float, int]], mean: float
) -> None:
    values = Values.of(pairs)
    bound = lower_bound(values, 0.05)
    if abs(bound - mean) > 1e-6:
        assert (bound > mean) == (log_wealth_above(values, mean) >= -math.log(0.05))


@given(histograms, st.floats(0.02, 0.98))
def test_above_and_below_are_mirror_images(pairs: list[tuple[float, int]], mean: float) -> None:
    values = Values.of(pairs)
    assert log_wealth_below(values, mean) == pytest.approx(log_wealth_above(values.mirrored(), 1 - mean))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_a_path_ends_at_the_wealth_of_the_histogram(sequence: list[float], mean: float) -> None:
    path = log_wealth_path(np.array(sequence), mean)
    assert path[-1] == pytest.approx(log_wealth_above(Values.of((value, 1) for value in sequence), mean), abs=1e-9)


def test_without_values_the_bounds_are_0_and_1() -> None:
    assert lower_bound(Values.of([]), 0.05) == pytest.approx(0, abs=1e-6)
    assert upper_bound(Values.of([]), 0.05) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("truth", [0.05, 0.3, 0.8])
def test_evaluation_after_every_value_errs_in_fewer_than_alpha_of_runs(truth: float) -> None:
    rng = np.random.default_rng(11)
    errors = (
        sum(
            bool((log_wealth_path(rng.binomial(1, truth, 2000).astype(float), truth) >= -math.log(0.05)).any())
            for _ in range(400)
        )
        / 400
    )
    print(f"truth {truth}: errors in {errors:.1%} of 400 runs")
    assert errors < 0.05


def test_bounds_get_tighter_with_more_subjects() -> None:
    widths = [
        upper_bound(Values.of([(1.0, 9 * n), (0.0, n)]), 0.05) - lower_bound(Values.of([(1.0, 9 * n), (0.0, n)]), 0.05)
        for n in (10, 100, 1000)
    ]
    assert widths[0] > 2 * widths[1] > 2 * widths[2]
