"""Simulation of the ladder: the verdicts of `gates` after every scan of a random stream, computed as cumulative sums.

It is fast enough for hundreds of runs. Subjects scan several times and their scans are alike: each subject has its own
accuracy, correction rate, latency and cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from savo_contracts.figures import REFERENCE_COST_USD
from savo_contracts.measures import ACCURACY, CORRECTION_RATE, COST, FAILURES, LATENCY, Measure
from savo_contracts.rollout import STEPS
from savo_rollout.confidence_sequences import log_wealth_path
from savo_rollout.steps import StepPolicy

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SIMULATED = (ACCURACY, CORRECTION_RATE, LATENCY, COST, FAILURES)
"""Measures with a simulated rate. A further one needs a field of `Candidate` and a line in `drawn`."""

CONFIRMED = (ACCURACY, CORRECTION_RATE)
ITEMS = 6


@dataclass(frozen=True)
class Candidate:
    """A candidate's true means over subjects."""

    accuracy: float = 0.93
    corrections: float = 0.15
    slow: float = 0.01
    cost_usd: float = 0.004
    failures: float = 0.002


@dataclass(frozen=True)
class Traffic:
    """Size and shape of a stream."""

    subjects: int = 5000
    scans: int = 20_000
    confirmed: float = 0.7
    """Share of scans that are confirmed."""
    concentration: float = 6.0
    """Beta concentration of the subjects' rates. A smaller value makes scans of one subject more alike."""


@dataclass
class Run:
    """Course of one simulated trial."""

    passed: bool = False
    alarm_at: int | None = None
    """The scan after which the candidate lost its traffic."""
    steps: list[dict[str, int]] = field(default_factory=list)
    """For each completed step: all scans, confirmed candidate scans and candidate subjects of the experiment so far."""

    @property
    def rolled_back(self) -> bool:
        return self.alarm_at is not None


@dataclass(frozen=True)
class Stream:
    """One run's traffic, in the order of scans."""

    subject: NDArray[np.int64]
    bucket: Floats
    confirmed: Flags
    values: dict[Measure, Floats]

    @classmethod
    def drawn(cls, candidate: Candidate, traffic: Traffic, rng: np.random.Generator) -> Stream:
        subject = rng.integers(traffic.subjects, size=traffic.scans)

        def rates(mean: float) -> Floats:
            own = (
                rng.beta(mean * traffic.concentration, (1 - mean) * traffic.concentration, size=traffic.subjects)
                if mean
                else np.zeros(traffic.subjects)
            )
            return own[subject]

        price = rng.gamma(2.0, candidate.cost_usd / 2.0, size=traffic.subjects)[subject] / REFERENCE_COST_USD
        values = {
            ACCURACY: rng.binomial(ITEMS, rates(candidate.accuracy)) / ITEMS,
            CORRECTION_RATE: rng.binomial(1, rates(candidate.corrections)).astype(float),
            LATENCY: rng.binomial(1, rates(candidate.slow)).astype(float),
            COST: np.minimum(1.0, price),
            FAILURES: rng.binomial(1, rates(candidate.failures)).astype(float),
        }
        bucket = rng.random(traffic.subjects)[subject]
        return cls(subject, bucket, rng.random(traffic.scans) < traffic.confirmed, values)


def climb(stream: Stream, policy: StepPolicy) -> Run:
    """Simulate a trial. Of the baseline only the number of scans matters, because gates are absolute."""
    run, start, length = Run(), 0, stream.subject.size
    counted = {measure: np.zeros(length, dtype=bool) for measure in policy.gates.measures}
    for rung, share in enumerate(STEPS):
        step, alarm, ready = _first_events(stream, policy, rung, share, start, counted)
        if alarm <= ready:
            run.alarm_at = alarm if alarm < length else None
            return run
        start = ready + 1
        step.count_until(start, counted)
        run.steps.append(_measured(stream, share, start, counted))
    run.passed = True
    return run


def _first_events(
    stream: Stream, policy: StepPolicy, rung: int, share: float, start: int, counted: dict[Measure, Flags]
) -> tuple[_Step, int, int]:
    """A step with the scans of its alarm and of its pass; the stream's length means never.

    Most steps end early, so short windows are tried first.
    """
    for window in (100, 400, stream.subject.size):
        step = _Step(stream, policy, rung, share, start, min(stream.subject.size, start + int(window / share)), counted)
        alarm, ready = step.alarm(), step.ready()
        if min(alarm, ready) < stream.subject.size:
            break
    return step, alarm, ready


def _measured(stream: Stream, share: float, end: int, counted: dict[Measure, Flags]) -> dict[str, int]:
    is_candidate = stream.bucket[:end] < share
    return {
        "scans": end,
        "confirmed": int((is_candidate & stream.confirmed[:end]).sum()),
        "subjects": int(counted[CORRECTION_RATE].sum()),
    }


class _Step:
    """One step, evaluated after each candidate scan between `start` and `stop`."""

    def __init__(
        self,
        stream: Stream,
        policy: StepPolicy,
        rung: int,
        share: float,
        start: int,
        stop: int,
        counted: dict[Measure, Flags],
    ) -> None:
        self.stream, self.policy, self.rung, self.counted = stream, policy, rung, counted
        is_candidate = stream.bucket[start:stop] < share
        confirmed = stream.confirmed[start:stop]
        self.evaluations = np.flatnonzero(is_candidate) + start
        baseline = np.cumsum(~is_candidate & confirmed)[is_candidate]
        candidate = np.cumsum(confirmed[is_candidate])
        self.enough = (candidate >= policy.min_confirmed) & ((baseline >= policy.min_confirmed) | (share >= 1.0))
        self.places = {measure: self._firsts_in_step(measure) for measure in policy.gates.measures}

    def alarm(self) -> int:
        """The scan after which a gate is breached."""
        gates = self.policy.gates
        hit = np.zeros(self.evaluations.size, dtype=bool)
        for measure in gates.measures:
            if level := gates.breach_level(measure, self.rung + 1):
                hit |= self._path(measure, in_favour=False) >= -np.log(level)
        return self._first(hit)

    def ready(self) -> int:
        """The scan after which every gate passes and the minimum numbers are reached."""
        level = -np.log(self.policy.gates.pass_level(self.rung))
        good = self.enough.copy()
        for measure in (measure for measure in self.policy.gates.measures if measure.must_be_proven):
            good &= (self._path(measure, in_favour=True) >= level) & self._right_side(measure)
        return self._first(good)

    def count_until(self, end: int, counted: dict[Measure, Flags]) -> None:
        for measure in self.policy.gates.measures:
            new = self._new(measure)
            counted[measure][new[new < end]] = True

    def _first(self, hits: Flags) -> int:
        return int(self.evaluations[hits.argmax()]) if hits.any() else self.stream.subject.size

    def _path(self, measure: Measure, *, in_favour: bool) -> Floats:
        """Log wealth at each evaluation: in favour by the whole experiment, against by this step."""
        places = self._new(measure) if in_favour else self.places[measure]
        before = np.flatnonzero(self.counted[measure]) if in_favour else np.array([], dtype=np.int64)
        mirrored = measure.higher_is_better is not in_favour
        threshold = self.policy.gates.threshold(measure)
        values = self.stream.values[measure][np.concatenate([before, places])]
        path = log_wealth_path(1 - values if mirrored else values, 1 - threshold if mirrored else threshold)
        return np.asarray(np.concatenate([[0.0], path])[before.size + self._arrived(places)])

    def _arrived(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of `places` at or before each evaluation."""
        return np.searchsorted(places, self.evaluations, side="right")

    def _firsts_in_step(self, measure: Measure) -> NDArray[np.int64]:
        places = self.evaluations[self.stream.confirmed[self.evaluations]] if measure in CONFIRMED else self.evaluations
        _, first = np.unique(self.stream.subject[places], return_index=True)
        return np.sort(places[first])

    def _new(self, measure: Measure) -> NDArray[np.int64]:
        """First scans of subjects that are new to the experiment."""
        places, subject = self.places[measure], self.stream.subject
        return places[~np.isin(subject[places], subject[self.counted[measure]])]

    def _right_side(self, measure: Measure) -> Flags:
        places = self.places[measure]
        means = np.concatenate(
            [[np.nan], np.cumsum(self.stream.values[measure][places]) / np.arange(1, places.size + 1)]
        )
        at_evaluation = means[self._arrived(places)]
        threshold = self.policy.gates.threshold(measure)
        is_met = at_evaluation > threshold if measure.higher_is_better else at_evaluation < threshold
        return np.asarray(np.isnan(at_evaluation) | is_met)
