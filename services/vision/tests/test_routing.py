from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.scans import Arm
from savo_vision.routing import BUCKETS, Router, RoutingPolicy, bucket_of
from services.vision.tests.conftest import model_ref, rollout

subjects = st.text(min_size=1, max_size=64)
shares = st.floats(0, 1)


def router(share: float, **policy: object) -> Router:
    made = Router(RoutingPolicy(**({"use_custom": True} | policy)))  # type: ignore[arg-type]
    made.adopt(rollout(1, share, candidate=model_ref("v2"), champion=model_ref("v1")))
    return made


@given(subjects, shares)
def test_a_subject_stays_in_its_arm(subject: str, share: float) -> None:
    assert router(share).choose(subject) == router(share).choose(subject)


@given(subjects, shares, shares)
def test_a_growing_share_moves_nobody_back(subject: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    if router(smaller).choose(subject).arm is Arm.CANDIDATE:
        assert router(larger).choose(subject).arm is Arm.CANDIDATE


@given(subjects)
def test_nobody_at_share_0_and_everybody_at_share_1(subject: str) -> None:
    assert router(0.0).choose(subject).arm is Arm.BASELINE
    assert router(1.0).choose(subject).arm is Arm.CANDIDATE


def test_the_share_of_a_hundred_thousand_subjects_is_right_to_half_a_point() -> None:
    buckets = [bucket_of("v7", f"subject-{number}") for number in range(100_000)]
    for share in (0.05, 0.25, 0.29, 0.5):
        measured = sum(bucket < round(share * BUCKETS) for bucket in buckets) / len(buckets)
        assert abs(measured - share) <= 0.005


def test_each_experiment_draws_other_people() -> None:
    chosen = [{number for number in range(20_000) if bucket_of(version, f"s{number}") < 500} for version in ("v1", "v2")]
    assert len(chosen[0] & chosen[1]) / len(chosen[0]) < 0.1


def test_before_the_first_decision_all_goes_to_the_provider() -> None:
    choice = Router(RoutingPolicy(use_custom=True)).choose("u1")
    assert (choice.arm, choice.share, choice.custom, choice.experiment) == (Arm.BASELINE, 0.0, None, None)


def test_custom_vision_switched_off_is_share_0_with_the_provider() -> None:
    choice = router(1.0, use_custom=False).choose("u1")
    assert (choice.arm, choice.share, choice.custom) == (Arm.BASELINE, 0.0, None)
    assert router(1.0, use_custom=False, pinned_share=1.0).choose("u1").custom is None


def test_the_baseline_is_the_champion_when_there_is_one() -> None:
    choice = router(0.0).choose("u1")
    assert (choice.arm, choice.custom, choice.experiment) == (Arm.BASELINE, "v1", "v2")


def test_the_operator_s_pin_overrules_the_rollout() -> None:
    assert router(0.05, pinned_share=1.0).choose("u1").custom == "v2"
    assert router(1.0, pinned_share=0.0).choose("u1").custom == "v1"


def test_a_pinned_share_of_the_operator_s_own_model_needs_no_rollout() -> None:
    pinned = Router(RoutingPolicy(use_custom=True, pinned_share=1.0, own_model="runs/best.onnx"))
    assert pinned.choose("u1").custom == "runs/best.onnx"
    pinned.own_version = "best-1a2b3c4d"
    assert pinned.choose("u1").experiment == "best-1a2b3c4d"


def test_a_pin_without_any_model_stays_with_the_provider() -> None:
    assert Router(RoutingPolicy(use_custom=True, pinned_share=1.0)).choose("u1").arm is Arm.BASELINE


def test_a_stale_decision_is_not_adopted() -> None:
    made = router(0.5)
    assert not made.adopt(rollout(0, 1.0, candidate=model_ref("v2")))
    assert made.share == 0.5
