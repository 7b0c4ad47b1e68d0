"""Error model of the stand-in: misses, wrong labels, box jitter, latency and failures, seeded by photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox

Rng = np.random.Generator

_Z95 = 1.6448536269514722
_MIN_SIDE = 0.004
"""Smallest width and height of a box, as a fraction of the photo."""


@dataclass(frozen=True)
class DetectedItem:
    """An item of an answer."""

    label: str
    bbox: BoundingBox
    confidence: float


@dataclass(frozen=True)
class ErrorModel:
    """Parameters of the errors.

    `miss` and `wrong` are probabilities for an item, `errors` for a request. `jitter` is σ in sizes of the box.
    Latencies are in milliseconds.
    """

    seed: int = 7
    miss: float = 0.10
    wrong: float = 0.08
    jitter: float = 0.04
    latency_median_ms: float = 600.0
    latency_p95_ms: float = 1200.0
    errors: float = 0.01
    latency_scale: float = 1.0

    def description(self) -> str:
        """The parameters as one sentence."""
        scaled = "" if self.latency_scale == 1 else f", scaled to {self.latency_scale:.0%} of that"
        items = f"misses {self.miss:.0%} of the items, gives {self.wrong:.0%} of the rest a wrong label"
        boxes = f"moves boxes by σ {self.jitter:.0%} of their size"
        latency = f"lognormal latency, median {self.latency_median_ms:.0f} ms, p95 {self.latency_p95_ms:.0f} ms{scaled}"
        failures = f"{self.errors:.0%} of the requests end in 503"
        return f"stand-in, no real provider: {items}, {boxes}; {latency}; {failures}; seed {self.seed}"

    def answer(self, truth: Sequence[TruthBox], labels: Sequence[str], photo: str) -> list[DetectedItem]:
        """The answer for a photo with this truth. `photo` is its sha256, `labels` are the possible wrong labels."""
        rng = np.random.default_rng((self.seed, int(photo[:16], 16)))
        detected = [self._detect(item, labels, rng) for item in truth]
        return [item for item in detected if item is not None]

    def fails(self, rng: Rng) -> bool:
        """Whether a request fails."""
        return bool(rng.random() < self.errors)

    def latency_seconds(self, rng: Rng) -> float:
        """A sample of the latency."""
        sigma = math.log(self.latency_p95_ms / self.latency_median_ms) / _Z95
        return float(self.latency_median_ms * np.exp(rng.normal(0, sigma)) / 1000 * self.latency_scale)

    def _detect(self, item: TruthBox, labels: Sequence[str], rng: Rng) -> DetectedItem | None:
        """Draws the same number of random values for every item, so that items do not influence each other."""
        missed, mistaken, other = rng.random() < self.miss, rng.random() < self.wrong, rng.random()
        box, confidence = self._jittered(item.bbox, rng), float(rng.beta(8, 2))
        if missed:
            return None
        others = [label for label in labels if label != item.label]
        if mistaken and others:
            return DetectedItem(others[int(other * len(others))], box, 0.45 + 0.4 * confidence)
        return DetectedItem(item.label, box, 0.55 + 0.44 * confidence)

    def _jittered(self, box: BoundingBox, rng: Rng) -> BoundingBox:
        left, top, right, bottom = box.x, box.y, box.right, box.bottom
        shift = rng.normal(0, self.jitter, 4) * np.array([box.width, box.height, box.width, box.height])
        corners = (
            left + shift[0],
            top + shift[1],
            max(left + shift[0] + _MIN_SIDE, right + shift[2]),
            max(top + shift[1] + _MIN_SIDE, bottom + shift[3]),
        )
        return BoundingBox.clipped(*(float(corner) for corner in corners)) or box
