"""Whether a candidate may be tried on traffic, and in words what to do when it may not. Figures in, verdict out: no I/O.

A first model must be good enough by itself; a later one must be better than the champion on the same holdout, by more
than chance, and must not have lost any class for sure (one-sided bootstrap p-values, adjusted by Holm's method:
S. Holm, "A simple sequentially rejective multiple test procedure", 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from savo_contracts.training import Comparison, Evaluation

__all__ = ["ClassChange", "Evidence", "Finding", "GatePolicy", "Verdict", "holm", "judge"]


EXPORT_AGAIN = "Export again with another opset or without simplification: the file that would serve is not the model that was trained."
VALIDATE_AGAIN = "Run the training again: its last step, validate, left no figure."


@dataclass(frozen=True)
class GatePolicy:
    """Fractions, so 0.02 is 2 points of mAP@0.5."""

    map50: float = 0.75
    map50_lower: float = 0.70
    min_gain: float = 0.02
    class_drop: float = 0.10
    class_boxes: int = 100
    """Holdout boxes from which on a class is judged by itself."""
    parity: float = 0.005
    significance: float = 0.05


@dataclass(frozen=True)
class ClassChange:
    """Candidate minus champion in one class."""

    gain: float
    boxes: int
    p_dropped: float
    """One-sided p-value against "down by no more than the allowed drop": small means surely down."""


@dataclass(frozen=True)
class Evidence:
    """All that was measured of one candidate."""

    evaluation: Evaluation
    comparison: Comparison | None = None
    classes: Mapping[str, ClassChange] = field(default_factory=dict)
    """Empty for a first model."""
    weights_map50: float | None = None
    export_map50: float | None = None
    train_boxes: Mapping[str, int] = field(default_factory=dict)
    """Training boxes by label, for the advice."""
    train_samples: int = 0
    """0 is unknown: of a model that was trained elsewhere."""
    trained_here: bool = True
    """False: there may be no figures of its export, and what was measured is the file that would serve."""


@dataclass(frozen=True)
class Finding:
    """One rule applied."""

    passed: bool
    reason: str
    next_steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reasons: tuple[str, ...]
    """Of a pass: all that was found; of a refusal: what spoke against it."""
    next_steps: tuple[str, ...]


def judge(evidence: Evidence, policy: GatePolicy) -> Verdict:
    rules = (
        _first_model(evidence, policy)
        if evidence.comparison is None
        else _later_model(evidence, evidence.comparison, policy)
    )
    findings = [*rules, *_parity(evidence, policy)]
    refusals = [finding for finding in findings if not finding.passed]
    told = refusals or findings
    steps = dict.fromkeys(step for finding in refusals for step in finding.next_steps)
    return Verdict(not refusals, tuple(finding.reason for finding in told), tuple(steps))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the k-th smallest of n is multiplied by n − k + 1, and never falls below the one before it."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        highest = max(highest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[name] = highest
    return adjusted


def _first_model(evidence: Evidence, policy: GatePolicy) -> list[Finding]:
    measured = evidence.evaluation
    point = Finding(
        measured.map50 >= policy.map50,
        f"mAP@0.5 is {measured.map50:.3f} on {measured.images} holdout photos; a first model needs {policy.map50:.3f}",
        (_more_samples(evidence), *_weakest_classes(evidence)),
    )
    lower = Finding(
        measured.map50_lower >= policy.map50_lower,
        f"the lower end of its 95 % interval is {measured.map50_lower:.3f}; it needs {policy.map50_lower:.3f}",
        (
            f"Widen the holdout: {measured.images} photos cannot say it more closely than {measured.map50_lower:.3f} to {measured.map50_upper:.3f}.",
        ),
    )
    return [point, lower]


def _later_model(evidence: Evidence, comparison: Comparison, policy: GatePolicy) -> list[Finding]:
    interval = f"95 % interval {_points(comparison.gain_lower)} to {_points(comparison.gain_upper)}"
    gain = Finding(
        comparison.gain > policy.min_gain,
        f"{_points(comparison.gain)} points of mAP@0.5 against {comparison.champion} "
        f"({comparison.champion_map50:.3f} → {evidence.evaluation.map50:.3f}, {interval}); it must gain more than {policy.min_gain * 100:g}",
        (_more_samples(evidence), *_weakest_classes(evidence)),
    )
    certain = Finding(
        comparison.gain_lower > 0,
        f"the gain's {interval} (paired, by subject); it must lie above zero",
        (f"Wait for more holdout photos: {evidence.evaluation.images} cannot tell this gain from chance.",),
    )
    return [gain, certain, _no_class_lost(evidence, policy)]


def _no_class_lost(evidence: Evidence, policy: GatePolicy) -> Finding:
    judged = {label: change for label, change in evidence.classes.items() if change.boxes >= policy.class_boxes}
    adjusted = holm({label: change.p_dropped for label, change in judged.items()})
    lost = {
        label: judged[label]
        for label, p_value in adjusted.items()
        if p_value < policy.significance and judged[label].gain < -policy.class_drop
    }
    allowed = f"{policy.class_drop * 100:g}"
    if not lost:
        return Finding(
            True,
            f"of {len(judged)} classes with at least {policy.class_boxes} holdout boxes none is surely down more than {allowed} points",
        )
    figures = ", ".join(
        f"{label} {_points(change.gain)} points (p {adjusted[label]:.3f}, {change.boxes} boxes)"
        for label, change in lost.items()
    )
    steps = tuple(
        f"Look at the newest samples of {label} (samples/ in the object store): wrong labels there are the usual cause of a loss in one class."
        for label in lost
    )
    return Finding(False, f"surely down more than {allowed} points: {figures}", steps)


def _parity(evidence: Evidence, policy: GatePolicy) -> list[Finding]:
    if evidence.weights_map50 is None or evidence.export_map50 is None:
        if not evidence.trained_here:
            return [
                Finding(True, "it came without figures of its export: the measured ONNX is the file that would serve")
            ]
        return [Finding(False, "the export was not compared with its weights", (VALIDATE_AGAIN,))]
    apart = abs(evidence.weights_map50 - evidence.export_map50)
    figures = f"{evidence.export_map50:.3f} and {evidence.weights_map50:.3f}"
    return [
        Finding(
            apart <= policy.parity,
            f"the ONNX is {apart * 100:.2f} points from its .pt ({figures}); {policy.parity * 100:g} are allowed",
            (EXPORT_AGAIN,),
        )
    ]


def _more_samples(evidence: Evidence) -> str:
    if not evidence.train_samples:
        return "Train it on more samples; each doubling has the largest effect while there are few."
    return f"Collect more: it was trained on {evidence.train_samples} samples; each doubling has the largest effect while there are few."


def _weakest_classes(evidence: Evidence, count: int = 3) -> tuple[str, ...]:
    weakest: Sequence[tuple[str, float]] = sorted(evidence.evaluation.per_class.items(), key=lambda entry: entry[1])[
        :count
    ]
    if not weakest:
        return ()
    known = evidence.train_boxes
    named = ", ".join(
        f"{label} (AP {ap:.2f}{f', {known.get(label, 0)} training boxes' if known else ''})" for label, ap in weakest
    )
    return (f"Look first at the weakest classes: {named}.",)


def _points(fraction: float) -> str:
    return f"{fraction * 100:+.1f}"
