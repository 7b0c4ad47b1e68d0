"""Routing: which arm a subject belongs to, and which model answers."""

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
def test_a_growing_share_moves_no_subject_back(subject: str, share: float, other: float) -> None:
    smaller, larger = sorted((share, other))
    if router(smaller).choose(subject).arm is Arm.CANDIDATE:
        assert router(larger).choose(subject).arm is Arm.CANDIDATE


@given(subjects)
def test_share_0_has_no_subject_and_share_1_has_all(subject: str) -> None:
    assert router(0.0).choose(subject).arm is Arm.BASELINE
    assert router(1.0).choose(subject).arm is Arm.CANDIDATE


@given(st.none() | st.text(max_size=20), subjects)
def test_a_bucket_depends_only_on_experiment_and_subject(experiment: str | None, subject: str) -> None:
    bucket = bucket_of(experiment, subject)
    assert 0 <= bucket < BUCKETS
    assert bucket == bucket_of(experiment, subject)


@given(st.integers(0, BUCKETS - 1), shares, shares)
def test_a_larger_share_keeps_every_bucket_of_a_smaller_one(bucket: int, share: float, other: float) -> None:
    smaller, larger = sorted((share, other))
    assert is_within(bucket, larger) or not is_within(bucket, smaller)


@pytest.mark.parametrize("experiment", ["v2", "v17", "best-1a2b3c4d"])
@pytest.mark.parametrize("form", ["numbered", "uuid"])
def test_the_share_of_100_000_subjects_is_accurate_to_half_a_point(experiment: str, form: str) -> None:
    ids = range(100_000)
    names = [f"subject-{number}" if form == "numbered" else uuid5(NAMESPACE_OID, str(number)).hex for number in ids]
    buckets = np.array([bucket_of(experiment, name) for name in names])
    for percent in range(101):
        share = percent / 100
        # Counting buckets is enough, because `is_within` is monotone (tested above).
        inside = sum(is_within(bucket, share) for bucket in range(BUCKETS))
        assert abs(np.count_nonzero(buckets < inside) / len(ids) - share) <= 0.005


def test_the_candidate_gets_its_share_of_subjects() -> None:
    made = router(0.25)
    chosen = sum(made.choose(f"subject-{number}").arm is Arm.CANDIDATE for number in range(100_000))
    assert abs(chosen / 100_000 - 0.25) <= 0.005


def test_each_experiment_draws_other_subjects() -> None:
    chosen = [
        {number for number in range(20_000) if bucket_of(version, f"s{number}") < 500} for version in ("v1", "v2")
    ]
    assert len(chosen[0] & chosen[1]) / len(chosen[0]) < 0.1


@given(shares)
def test_a_pinned_subject_stays_in_its_arm_at_any_share_and_moves_no_other(share: float) -> None:
    pinned = router(share, pins={"anna": Arm.CANDIDATE, "ben": Arm.BASELINE})
    anna, ben = pinned.choose("anna"), pinned.choose("ben")
    assert (anna.arm, anna.model_version, anna.experiment) == (Arm.CANDIDATE, "v2", None)
    assert (ben.arm, ben.model_version, ben.experiment) == (Arm.BASELINE, "v1", None)
    assert pinned.choose("carl") == router(share).choose("carl")


def test_a_subject_pinned_to_a_missing_candidate_gets_the_baseline() -> None:
    made = Router(RoutingPolicy(use_custom=True, pins={"anna": Arm.CANDIDATE}))
    made.adopt(rollout(1, 0.0, champion=model_ref("v1")))
    assert made.choose("anna").model_version == "v1"


def test_before_the_first_decision_the_provider_answers() -> None:
    choice = Router(RoutingPolicy(use_custom=True)).choose("u1")
    assert (choice.arm, choice.share, choice.model_version, choice.experiment) == (Arm.BASELINE, 0.0, None, None)


def test_without_custom_vision_the_provider_answers_at_share_0() -> None:
    choice = router(1.0, use_custom=False).choose("u1")
    assert (choice.arm, choice.share, choice.model_version) == (Arm.BASELINE, 0.0, None)
    assert router(1.0, use_custom=False, pinned_share=1.0).choose("u1").model_version is None


def test_the_champion_is_the_baseline_if_there_is_one() -> None:
    choice = router(0.0).choose("u1")
    assert (choice.arm, choice.model_version, choice.experiment) == (Arm.BASELINE, "v1", "v2")


def test_a_pinned_share_overrides_the_rollout() -> None:
    assert router(0.05, pinned_share=1.0).choose("u1").model_version == "v2"
    assert router(1.0, pinned_share=0.0).choose("u1").model_version == "v1"


def test_a_pinned_share_of_the_operators_model_needs_no_rollout() -> None:
    pinned = Router(RoutingPolicy(use_custom=True, pinned_share=1.0, operator_model="runs/best.onnx"))
    assert pinned.choose("u1").model_version == "runs/best.onnx"
    pinned.operator_model_version = "best-1a2b3c4d"
    assert pinned.choose("u1").experiment == "best-1a2b3c4d"


def test_a_pinned_share_without_a_model_leaves_the_provider() -> None:
    assert Router(RoutingPolicy(use_custom=True, pinned_share=1.0)).choose("u1").arm is Arm.BASELINE


def test_a_stale_decision_is_not_adopted() -> None:
    made = router(0.5)
    assert not made.adopt(rollout(0, 1.0, candidate=model_ref("v2")))
    assert made.share == 0.5
