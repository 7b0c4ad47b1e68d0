"""Error probabilities of the ladder, simulated with several similar scans per subject and a decision after each."""

from __future__ import annotations

import numpy as np
import pytest

from savo_contracts.measures import ACCURACY, CORRECTION_RATE, Measure
from savo_contracts.rollout import STEPS, RolloutState
from savo_contracts.scans import Arm
from savo_rollout.confidence_sequences import Values
from savo_rollout.evidence import ArmEvidence
from savo_rollout.gates import GatePolicy
from savo_rollout.state import Trial
from savo_rollout.steps import StepPolicy, decide, start_or_queue
from services.rollout.tests.events import NOON, registered
from services.rollout.tests.ladder_simulation import SIMULATED, Candidate, Run, Stream, Traffic, climb

RUNS = 300
SEED = 20_260_105
GATES = GatePolicy(measures=SIMULATED)
POLICY = StepPolicy(min_days=0, gates=GATES)
TRAFFIC = Traffic(subjects=4000, scans=12_000)

BAD = {
    "accuracy 0.78": Candidate(accuracy=0.78),
    "corrections 0.33": Candidate(corrections=0.33),
    "slow 7 %": Candidate(slow=0.07),
    "cost $0.11": Candidate(cost_usd=0.11),
}


def runs(candidate: Candidate, policy: StepPolicy = POLICY, traffic: Traffic = TRAFFIC, count: int = RUNS) -> list[Run]:
    return [
        climb(Stream.drawn(candidate, traffic, np.random.default_rng([SEED, number])), policy)
        for number in range(count)
    ]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_candidate_passes_the_ladder_in_fewer_than_5_per_cent_of_runs(name: str) -> None:
    passed = sum(run.passed for run in runs(BAD[name])) / RUNS
    print(f"{name}: passed {passed:.1%} of {RUNS} runs, seed {SEED}")
    assert passed < 0.05


def test_a_good_candidate_is_held_back_in_fewer_than_10_per_cent_of_runs() -> None:
    outcomes = runs(Candidate())
    held = 1 - sum(run.passed for run in outcomes) / RUNS
    alarms = sum(run.rolled_back for run in outcomes) / RUNS
    print(
        f"good (accuracy 0.93, corrections 0.15): held back {held:.1%}, of these by a false alarm {alarms:.1%}, "
        f"{RUNS} runs, seed {SEED}"
    )
    print(f"scans, confirmed candidate scans, subjects at each step, median: {medians(outcomes)}")
    assert held < 0.10


def test_a_candidate_at_a_target_passes_in_fewer_than_5_per_cent_of_runs() -> None:
    passed = sum(run.passed for run in runs(Candidate(slow=0.05), count=150)) / 150
    print(f"slow 5 %, the limit itself: passed {passed:.1%} of 150 runs, seed {SEED}")
    assert passed < 0.05


def test_with_small_numbers_a_good_candidate_climbs_within_a_minute_of_traffic() -> None:
    small = StepPolicy(min_confirmed=20, min_days=0, gates=GATES)
    outcomes = runs(
        Candidate(corrections=0.17, slow=0.0, failures=0.0),
        small,
        Traffic(subjects=100_000, scans=3600, confirmed=1.0),
        100,
    )
    print(
        f"minimum 20: completed {sum(run.passed for run in outcomes)} of 100; "
        f"scans, confirmed candidate scans, subjects, median: {medians(outcomes)}"
    )
    assert sum(run.passed for run in outcomes) >= 90


def medians(outcomes: list[Run]) -> list[tuple[int, ...]]:
    steps_of_passed = [run.steps for run in outcomes if run.passed]
    return [
        tuple(
            int(np.median([steps[share_index][name] for steps in steps_of_passed]))
            for name in ("scans", "confirmed", "subjects")
        )
        for share_index in range(len(STEPS))
    ]


def test_the_simulation_decides_as_the_service_does() -> None:
    """The same stream, scan by scan through `decide`, changes share at the same scans."""
    policy = StepPolicy(min_confirmed=10, min_days=0, gates=GATES)
    for seed, candidate in ((1, Candidate()), (2, Candidate(corrections=0.6)), (3, Candidate(slow=0.5))):
        stream = Stream.drawn(candidate, Traffic(subjects=400, scans=1500), np.random.default_rng(seed))
        run = climb(stream, policy)
        assert changes_by_the_service(stream, policy) == [step["scans"] for step in run.steps], seed


def changes_by_the_service(stream: Stream, policy: StepPolicy) -> list[int]:
    """Scans after which the share grew, by the service's own functions."""
    trial = start_or_queue(Trial.initial(NOON), registered(), NOON)
    evidence, increases = Evidence(), []
    for scan in range(stream.subject.size):
        evidence.add(stream, scan, trial.share)
        changed = decide(trial, evidence.arms(), policy, NOON)
        if changed is not None:
            if changed.state is not RolloutState.ROLLED_BACK:
                increases.append(scan + 1)
            trial = changed
            evidence.next_step()
        if not trial.is_live:
            break
    return increases


class Evidence:
    """The evidence that the database stores, in plain dictionaries."""

    def __init__(self) -> None:
        self.first: dict[Measure, dict[int, float]] = {measure: {} for measure in SIMULATED}
        self.next_step()

    def next_step(self) -> None:
        self.step: dict[Measure, dict[int, float]] = {measure: {} for measure in SIMULATED}
        self.confirmed = dict.fromkeys(Arm, 0)

    def add(self, stream: Stream, scan: int, share: float) -> None:
        arm = Arm.CANDIDATE if stream.bucket[scan] < share else Arm.BASELINE
        self.confirmed[arm] += bool(stream.confirmed[scan])
        if arm is Arm.BASELINE:
            return
        for measure in SIMULATED:
            if stream.confirmed[scan] or measure not in (ACCURACY, CORRECTION_RATE):
                value, subject = float(stream.values[measure][scan]), int(stream.subject[scan])
                self.first[measure].setdefault(subject, value)
                self.step[measure].setdefault(subject, value)

    def arms(self) -> dict[Arm, ArmEvidence]:
        first, step = (
            {measure: Values.of((value, 1) for value in values.values()) for measure, values in kept.items()}
            for kept in (self.first, self.step)
        )
        candidate = ArmEvidence(confirmed_in_step=self.confirmed[Arm.CANDIDATE], first_values=first, step_values=step)
        return {Arm.CANDIDATE: candidate, Arm.BASELINE: ArmEvidence(confirmed_in_step=self.confirmed[Arm.BASELINE])}
