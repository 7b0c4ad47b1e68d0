from __future__ import annotations

from uuid import NAMESPACE_OID, uuid5

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.scans import Arm
from savo_vision.routing import BUCKETS, Router, RoutingPolicy, bucket_of, is_within
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


@given(st.none() | st.text(max_size=20), subjects)
def test_a_bucket_is_one_of_ten_thousand_and_depends_on_experiment_and_subject_alone(
    experiment: str | None, subject: str
) -> None:
    bucket = bucket_of(experiment, subject)
    assert 0 <= bucket < BUCKETS
    assert bucket == bucket_of(experiment, subject)


@given(st.integers(0, BUCKETS - 1), shares, shares)
def test_a_larger_share_keeps_every_bucket_of_a_smaller_one(bucket: int, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert is_within(bucket, larger) or not is_within(bucket, smaller)


@pytest.mark.parametrize("experiment", ["v2", "v17", "best-1a2b3c4d"])
@pytest.mark.parametrize("form", ["numbered", "uuid"])
def test_the_share_of_a_hundred_thousand_subjects_is_right_to_half_a_point(experiment: str, form: str) -> None:
    ids = range(100_000)
    names = [f"subject-{number}" if form == "numbered" else uuid5(NAMESPACE_OID, str(number)).hex for number in ids]
    buckets = np.array([bucket_of(experiment, name) for name in names])
    for percent in range(101):
        share = percent / 100
        # `is_within` by the last bucket that is in it: it is monotone, as tested above.
        inside = sum(is_within(bucket, share) for bucket in range(BUCKETS))
        assert abs(np.count_nonzero(buckets < inside) / len(ids) - share) <= 0.005


def test_the_router_gives_its_share_to_the_candidate() -> None:
    made = router(0.25)
    chosen = sum(made.choose(f"subject-{number}").arm is Arm.CANDIDATE for number in range(100_000))
    assert abs(chosen / 100_000 - 0.25) <= 0.005


def test_each_experiment_draws_other_people() -> None:
    chosen = [
        {number for number in range(20_000) if bucket_of(version, f"s{number}") < 500} for version in ("v1", "v2")
    ]
    assert len(chosen[0] & chosen[1]) / len(chosen[0]) < 0.1


@given(shares)
def test_support_s_pin_keeps_one_subject_in_an_arm_whatever_the_share_and_moves_nobody_else(share: float) -> None:
    pinned = router(share, pins={"anna": Arm.CANDIDATE, "ben": Arm.BASELINE})
    anna, ben = pinned.choose("anna"), pinned.choose("ben")
    assert (anna.arm, anna.custom, anna.experiment) == (Arm.CANDIDATE, "v2", None)
    assert (ben.arm, ben.custom, ben.experiment) == (Arm.BASELINE, "v1", None)
    assert pinned.choose("carl") == router(share).choose("carl")


def test_a_pin_to_the_candidate_while_there_is_none_is_answered_by_the_baseline() -> None:
    made = Router(RoutingPolicy(use_custom=True, pins={"anna": Arm.CANDIDATE}))
    made.adopt(rollout(1, 0.0, champion=model_ref("v1")))
    assert made.choose("anna").custom == "v1"


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
