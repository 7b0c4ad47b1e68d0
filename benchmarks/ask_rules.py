"""Script `python -m benchmarks.ask_rules`: compares the rules of `ask_confirmation` at equal numbers of confirmations.

A stand-in for training: scans of items with Zipf-distributed classes, a softmax regression instead of a detector, and
the mean of the classes' accuracy instead of mAP. In each round the model answers new scans, a rule chooses the same
number of them, their items become training data with their true classes, and the model is trained again.

It also shows what the choice does to the measured accuracy: the mean over the confirmed items, beside that of all
items. A rule that prefers hard scans makes the model look worse than it is.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import Arm, Detection, ScanCompleted, ServedBy
from savo_gateway.scans.confirmation_asks import DEFAULT_THRESHOLD, AskRule, drawn_number, weight_of

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

CLASSES, FEATURES, ITEMS = 40, 12, 3
NOISE, ZIPF = 1.15, 1.1
SCANS_A_ROUND, ASKED_A_ROUND, ROUNDS, FIRST_SCANS = 400, 60, 8, 60
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
IMAGE = ImageRef(key="scans/aa/a.jpg", sha256="a" * 64, bytes=1, width=64, height=48)


@dataclass(frozen=True)
class Result:
    """Figures after a round."""

    confirmations: int
    accuracy: float
    """Mean of the classes' accuracies on new scans, 0…1."""
    bias: float
    """Accuracy on the confirmed items minus accuracy on all items of the round."""


class World:
    """Items of classes with a frequency and a place among the features."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.centres = self.random.normal(size=(CLASSES, FEATURES))
        frequencies = 1 / np.arange(1, CLASSES + 1) ** ZIPF
        self.frequencies = frequencies / frequencies.sum()

    def scans(self, count: int, *, balanced: bool = False) -> tuple[Array, Numbers]:
        """Features (scans × items × features) and classes (scans × items)."""
        chances = None if balanced else self.frequencies
        classes = self.random.choice(CLASSES, (count, ITEMS), p=chances)
        return self.centres[classes] + NOISE * self.random.normal(size=(count, ITEMS, FEATURES)), classes


class Model:
    """Softmax regression."""

    def __init__(self) -> None:
        self.weights = np.zeros((FEATURES + 1, CLASSES))

    def train(self, features: Array, classes: Numbers, steps: int = 400, rate: float = 0.5) -> None:
        rows, targets = _with_bias(features), np.eye(CLASSES)[classes]
        for _ in range(steps):
            error = _softmax(rows @ self.weights) - targets
            self.weights -= rate * (rows.T @ error / len(rows) + 1e-4 * self.weights)

    def answer(self, features: Array) -> tuple[Numbers, Array]:
        """The class of each item and its confidence."""
        chances = _softmax(_with_bias(features) @ self.weights)
        return chances.argmax(axis=-1), chances.max(axis=-1)


def simulate(rule: AskRule, seed: int) -> list[Result]:
    """The figures after each round. The same seed gives both rules the same scans."""
    world, model, results = World(seed), Model(), []
    features, classes = world.scans(FIRST_SCANS)
    seen, truth = features.reshape(-1, FEATURES), classes.reshape(-1)
    test = world.scans(3000, balanced=True)
    for number in range(ROUNDS):
        model.train(seen, truth)
        features, classes = world.scans(SCANS_A_ROUND)
        found, confidences = model.answer(features)
        chosen = _chosen(rule, f"{seed}-{number}", found, confidences, _boxes(truth))
        right = found == classes
        bias = float(right[chosen].mean() - right.mean())
        seen = np.concatenate([seen, features[chosen].reshape(-1, FEATURES)])
        truth = np.concatenate([truth, classes[chosen].reshape(-1)])
        model.train(seen, truth)
        results.append(Result((number + 1) * ASKED_A_ROUND, _class_accuracy(model, *test), bias))
    return results


def _chosen(rule: AskRule, name: str, found: Numbers, confidences: Array, boxes: Mapping[str, int]) -> list[int]:
    """The scans with the greatest u^(1/weight): a weighted sample of fixed size (Efraimidis, Spirakis 2006)."""
    keys = []
    for index in range(len(found)):
        scan = _answer(f"{name}-{index}", found[index], confidences[index])
        weight = weight_of(scan, boxes) if rule is AskRule.CLOSE_TO_THRESHOLD else 1.0
        keys.append((drawn_number(scan.scan_id) ** (1 / weight), index))
    return [index for _, index in sorted(keys, reverse=True)[:ASKED_A_ROUND]]


def _answer(scan_id: str, found: Sequence[int] | Numbers, confidences: Sequence[float] | Array) -> ScanCompleted:
    items = tuple(
        Detection(label=f"c{label}", name=f"c{label}", confidence=float(confidence))
        for label, confidence in zip(found, confidences, strict=True)
    )
    return ScanCompleted(
        scan_id=scan_id,
        subject="someone",
        image=IMAGE,
        items=items,
        scan_confidence=float(np.mean(confidences)),
        duration_ms=1.0,
        cost_usd=0.0,
        threshold=DEFAULT_THRESHOLD,
        requested_at=NOW,
        completed_at=NOW,
        assigned_arm=Arm.CANDIDATE,
        served_by=ServedBy.CUSTOM,
        model_version="v1",
        bucket=0,
        share=1.0,
    )


def _boxes(truth: Numbers) -> dict[str, int]:
    return {f"c{label}": count for label, count in Counter(truth.tolist()).items()}


def _class_accuracy(model: Model, features: Array, classes: Numbers) -> float:
    found, _ = model.answer(features)
    return float(np.mean([(found[classes == label] == label).mean() for label in range(CLASSES)]))


def _with_bias(features: Array) -> Array:
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


def _softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares the rules of ask_confirmation.")
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    results = {rule: [simulate(rule, seed) for seed in seeds] for rule in AskRule}
    table = Table(
        "confirmations", *(f"{rule.value}: {what}" for rule in AskRule for what in ("accuracy", "bias")), "gain"
    )
    for row in range(ROUNDS):
        rounds = {rule: [runs[row] for runs in results[rule]] for rule in AskRule}
        gains = [
            100 * (close.accuracy - random.accuracy)
            for close, random in zip(rounds[AskRule.CLOSE_TO_THRESHOLD], rounds[AskRule.RANDOM], strict=True)
        ]
        figures = [
            f"{100 * statistics.fmean(value):{'+' if sign else ''}.1f}"
            for rule in AskRule
            for value, sign in (
                ([entry.accuracy for entry in rounds[rule]], False),
                ([entry.bias for entry in rounds[rule]], True),
            )
        ]
        table.add_row(
            str(rounds[AskRule.RANDOM][0].confirmations), *figures, " ".join(f"{gain:+.1f}" for gain in gains)
        )
    Console().print(table)


if __name__ == "__main__":
    main()
