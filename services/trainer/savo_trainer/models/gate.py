"""Quality gate: decides whether a candidate may serve traffic, with reasons and next steps. No I/O.

A first model must reach an absolute quality. A later model must be better than the champion on the same holdout by more
than chance, and no class may be significantly worse (one-sided bootstrap p-values, adjusted by Holm's method: S. Holm,
"A simple sequentially rejective multiple test procedure", 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from savo_contracts.training import Comparison, Evaluation

__all__ = ["ClassChange", "Evidence", "Finding", "GatePolicy", "Verdict", "holm", "judge"]


EXPORT_AGAIN = (
    "Export again with another opset or without simplification: "
    "the file to serve does not behave like the trained model."
)
VALIDATE_AGAIN = "Run the training again: its last step, validate, reported no figure."


@dataclass(frozen=True)
class GatePolicy:
    """Thresholds as fractions: 0.02 is 2 points of mAP@0.5."""

    map50: float = 0.75
    """Minimum mAP@0.5 of a first model."""
    map50_lower: float = 0.70
    """Minimum lower end of its 95 % interval."""
    min_gain: float = 0.02
    """Gain over the champion that a later model must exceed."""
    class_drop: float = 0.10
    """Largest allowed loss of AP in a class."""
    class_boxes: int = 100
    """Minimum of holdout boxes for a class to be judged by itself."""
    parity: float = 0.005
    """Largest allowed difference of mAP@0.5 between the ONNX file and its .pt."""
    significance: float = 0.05
    """Level for the adjusted p-values."""


@dataclass(frozen=True)
class ClassChange:
    """Candidate minus champion, for one class."""

    gain: float
    boxes: int
    p_dropped: float
    """One-sided p-value of "down by no more than the allowed drop": a small value means a significant loss."""


@dataclass(frozen=True)
class Evidence:
    """All figures of one candidate."""

    evaluation: Evaluation
    comparison: Comparison | None = None
    classes: Mapping[str, ClassChange] = field(default_factory=dict)
    """Empty for a first model."""
    weights_map50: float | None = None
    export_map50: float | None = None
    train_boxes: Mapping[str, int] = field(default_factory=dict)
    """Training boxes by label, for the next steps."""
    train_samples: int = 0
    """0: unknown, for a model that was trained elsewhere."""
    trained_here: bool = True
    """False: figures of the export may be missing, because the measured file is the one to serve."""


@dataclass(frozen=True)
class Finding:
    """Result of one rule."""

    passed: bool
    reason: str
    next_steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reasons: tuple[str, ...]
    """Of a pass: all findings. Of a refusal: the failed ones."""
    next_steps: tuple[str, ...]


def judge(evidence: Evidence, policy: GatePolicy) -> Verdict:
    """The verdict of all rules. Without a comparison the candidate is judged as a first model."""
    rules = (
        _first_model(evidence, policy)
        if evidence.comparison is None
        else _later_model(evidence, evidence.comparison, policy)
    )
    findings = [*rules, *_parity(evidence, policy)]
    refusals = [finding for finding in findings if not finding.passed]
    reported = refusals or findings
    steps = dict.fromkeys(step for finding in refusals for step in finding.next_steps)
    return Verdict(not refusals, tuple(finding.reason for finding in reported), tuple(steps))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: the k-th smallest of n is multiplied by n − k + 1, and is never below the one before it."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        highest = max(highest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[name] = highest
    return adjusted


def _first_model(evidence: Evidence, policy: GatePolicy) -> list[Finding]:
    measured = evidence.evaluation
    interval = f"{measured.map50_lower:.3f} to {measured.map50_upper:.3f}"
    point = Finding(
        measured.map50 >= policy.map50,
        f"mAP@0.5 is {measured.map50:.3f} on {measured.images} holdout photos; a first model needs {policy.map50:.3f}",
        (_more_samples(evidence), *_weakest_classes(evidence)),
    )
    lower = Finding(
        measured.map50_lower >= policy.map50_lower,
        f"the lower end of its 95 % interval is {measured.map50_lower:.3f}; it needs {policy.map50_lower:.3f}",
        (f"Add holdout photos: {measured.images} give an interval of {interval}.",),
    )
    return [point, lower]


def _later_model(evidence: Evidence, comparison: Comparison, policy: GatePolicy) -> list[Finding]:
    interval = f"95 % interval {_points(comparison.gain_lower)} to {_points(comparison.gain_upper)}"
    change = f"{comparison.champion_map50:.3f} → {evidence.evaluation.map50:.3f}, {interval}"
    gain = Finding(
        comparison.gain > policy.min_gain,
        f"{_points(comparison.gain)} points of mAP@0.5 against {comparison.champion} ({change}); "
        f"it must gain more than {policy.min_gain * 100:g}",
        (_more_samples(evidence), *_weakest_classes(evidence)),
    )
    certain = Finding(
        comparison.gain_lower > 0,
        f"the gain's {interval} (paired, by subject); it must lie above zero",
        (f"Wait for more holdout photos: with {evidence.evaluation.images} this gain may be chance.",),
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
        classes = f"{len(judged)} classes with at least {policy.class_boxes} holdout boxes"
        return Finding(True, f"of {classes} none is significantly down more than {allowed} points")
    figures = ", ".join(
        f"{label} {_points(change.gain)} points (p {adjusted[label]:.3f}, {change.boxes} boxes)"
        for label, change in lost.items()
    )
    steps = tuple(
        f"Check the newest samples of {label} (samples/ in the object store): wrong labels are the usual cause."
        for label in lost
    )
    return Finding(False, f"significantly down more than {allowed} points: {figures}", steps)


def _parity(evidence: Evidence, policy: GatePolicy) -> list[Finding]:
    if evidence.weights_map50 is None or evidence.export_map50 is None:
        if not evidence.trained_here:
            return [Finding(True, "it has no figures of its export: the measured ONNX file is the one to serve")]
        return [Finding(False, "the export was not compared with its weights", (VALIDATE_AGAIN,))]
    difference = abs(evidence.weights_map50 - evidence.export_map50)
    figures = f"{evidence.export_map50:.3f} and {evidence.weights_map50:.3f}"
    return [
        Finding(
            difference <= policy.parity,
            f"the ONNX is {difference * 100:.2f} points from its .pt ({figures}); {policy.parity * 100:g} are allowed",
            (EXPORT_AGAIN,),
        )
    ]


def _more_samples(evidence: Evidence) -> str:
    if not evidence.train_samples:
        return "Train it on more samples: while there are few, each doubling has a large effect."
    trained_on = f"it was trained on {evidence.train_samples} samples"
    return f"Collect more: {trained_on}, and while there are few, each doubling has a large effect."


def _weakest_classes(evidence: Evidence, count: int = 3) -> tuple[str, ...]:
    ranked: Sequence[tuple[str, float]] = sorted(evidence.evaluation.per_class.items(), key=lambda entry: entry[1])
    weakest = ranked[:count]
    if not weakest:
        return ()
    known = evidence.train_boxes
    named = ", ".join(
        f"{label} (AP {ap:.2f}{f', {known.get(label, 0)} training boxes' if known else ''})" for label, ap in weakest
    )
    return (f"Start with the weakest classes: {named}.",)


def _points(fraction: float) -> str:
    return f"{fraction * 100:+.1f}"
