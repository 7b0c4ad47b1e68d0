"""Quality gate: verdicts, reasons and next steps for given figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from savo_contracts.training import Comparison, Evaluation
from savo_trainer.models.gate import ClassChange, Evidence, GatePolicy, holm, judge

POLICY = GatePolicy()


def measured(map50: float, lower: float | None = None) -> Evaluation:
    return Evaluation(
        map50=map50,
        map50_lower=map50 - 0.03 if lower is None else lower,
        map50_upper=min(1.0, map50 + 0.03),
        images=200,
        boxes=800,
        per_class={"tomato": map50, "egg": 0.31, "milk": 0.95},
    )


def first(map50: float, lower: float | None = None) -> Evidence:
    return Evidence(
        measured(map50, lower), weights_map50=map50, export_map50=map50, train_boxes={"egg": 12}, train_samples=700
    )


def later(gain: float, gain_lower: float, **classes: ClassChange) -> Evidence:
    comparison = Comparison(
        champion="v1", champion_map50=0.80, gain=gain, gain_lower=gain_lower, gain_upper=gain + 0.03
    )
    return replace(first(0.80 + gain), comparison=comparison, classes=classes)


@pytest.mark.parametrize(
    ("evidence", "passes", "reason"),
    [
        (first(0.75, 0.70), True, "mAP@0.5 is 0.750"),
        (first(0.90, 0.86), True, "mAP@0.5 is 0.900"),
        (first(0.749, 0.72), False, "a first model needs 0.750"),
        (first(0.80, 0.69), False, "the lower end of its 95 % interval is 0.690"),
        (later(0.021, 0.001), True, "+2.1 points of mAP@0.5 against v1"),
        (later(0.020, 0.010), False, "it must gain more than 2"),
        (later(0.05, 0.0), False, "it must lie above zero"),
        (later(-0.05, -0.08), False, "-5.0 points"),
        (later(0.05, 0.02, egg=ClassChange(-0.20, 100, 0.001)), False, "egg -20.0 points"),
        (later(0.05, 0.02, egg=ClassChange(-0.20, 99, 0.001)), True, "of 0 classes"),
        (later(0.05, 0.02, egg=ClassChange(-0.20, 500, 0.20)), True, "of 1 classes"),
        (replace(first(0.9), export_map50=0.8949), False, "the ONNX is 0.51 points from its .pt"),
        (replace(first(0.9), export_map50=0.8951), True, "mAP@0.5"),
        (replace(first(0.9), export_map50=0.906), False, "the ONNX is 0.60 points from its .pt"),
        (replace(first(0.9), export_map50=None), False, "the export was not compared"),
    ],
)
def test_a_candidate_is_judged_by_its_figures(evidence: Evidence, passes: bool, reason: str) -> None:
    verdict = judge(evidence, POLICY)
    assert verdict.passed is passes
    assert reason in "; ".join(verdict.reasons)
    assert bool(verdict.next_steps) is not passes


def test_a_later_model_need_not_reach_the_bar_of_a_first_model() -> None:
    comparison = Comparison(champion="v1", champion_map50=0.40, gain=0.10, gain_lower=0.05, gain_upper=0.15)
    assert judge(replace(first(0.50), comparison=comparison), POLICY).passed


def test_a_refusal_names_the_weakest_classes_with_their_training_boxes() -> None:
    verdict = judge(first(0.50), POLICY)
    assert any("egg (AP 0.31, 12 training boxes)" in step for step in verdict.next_steps)
    assert any("trained on 700 samples" in step for step in verdict.next_steps)


def test_a_refusal_lists_only_the_failed_rules() -> None:
    verdict = judge(first(0.80, 0.60), POLICY)
    assert verdict.reasons == ("the lower end of its 95 % interval is 0.600; it needs 0.700",)


def test_among_many_classes_one_small_p_value_is_chance() -> None:
    many = {f"class{number}": ClassChange(0.0, 200, 0.9) for number in range(9)}
    one_class = ClassChange(-0.15, 200, 0.02)
    assert judge(later(0.05, 0.02, suspect=one_class), POLICY).passed is False
    assert judge(later(0.05, 0.02, suspect=one_class, **many), POLICY).passed is True


def test_holm_multiplies_the_smallest_most_and_never_reorders() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_bar_of_a_first_model_is_configurable() -> None:
    assert not judge(first(0.35, 0.31), POLICY).passed
    assert judge(first(0.35, 0.31), GatePolicy(map50=0.30, map50_lower=0.30)).passed
