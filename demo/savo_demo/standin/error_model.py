"""How wrong and how slow the stand-in is: seeded, so that the same photo always gets the same answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox

Rng = np.random.Generator

_Z95 = 1.6448536269514722
_THINNEST = 0.004
"""No box is drawn narrower than this fraction of the photo."""


@dataclass(frozen=True)
class Seen:
    """One item of an answer."""

    label: str
    bbox: BoundingBox
    confidence: float


@dataclass(frozen=True)
class ErrorModel:
    """Probabilities are for each item (`miss`, `wrong`) and each request (`errors`); `jitter` is σ in box sizes; latencies in milliseconds."""

    seed: int = 7
    miss: float = 0.10
    wrong: float = 0.08
    jitter: float = 0.04
    latency_median_ms: float = 600.0
    latency_p95_ms: float = 1200.0
    errors: float = 0.01
    latency_scale: float = 1.0

    def in_words(self) -> str:
        scaled = "" if self.latency_scale == 1 else f", scaled to {self.latency_scale:.0%} of that"
        items = f"misses {self.miss:.0%} of the items, names {self.wrong:.0%} of the rest wrong, moves boxes by σ {self.jitter:.0%} of their size"
        waits = f"lognormal latency, median {self.latency_median_ms:.0f} ms, p95 {self.latency_p95_ms:.0f} ms{scaled}"
        return f"stand-in, no real provider: {items}; {waits}; {self.errors:.0%} of the requests end in 503; seed {self.seed}"

    def answer(self, truth: Sequence[TruthBox], labels: Sequence[str], photo: str) -> list[Seen]:
        """What it says about a photo with this truth. `photo` identifies it (a hash); `labels` are the names to confuse one with."""
        rng = np.random.default_rng((self.seed, int(photo[:16], 16)))
        seen = [self._see(item, labels, rng) for item in truth]
        return [item for item in seen if item is not None]

    def fails(self, rng: Rng) -> bool:
        return bool(rng.random() < self.errors)

    def latency_seconds(self, rng: Rng) -> float:
        sigma = math.log(self.latency_p95_ms / self.latency_median_ms) / _Z95
        return float(self.latency_median_ms * np.exp(rng.normal(0, sigma)) / 1000 * self.latency_scale)

    def _see(self, item: TruthBox, labels: Sequence[str], rng: Rng) -> Seen | None:
        """Every draw is made for every item, so that one item's luck does not change the next one's."""
        missed, mistaken, other = rng.random() < self.miss, rng.random() < self.wrong, rng.random()
        box, sureness = self._moved(item.bbox, rng), float(rng.beta(8, 2))
        if missed:
            return None
        others = [label for label in labels if label != item.label]
        if mistaken and others:
            return Seen(others[int(other * len(others))], box, 0.45 + 0.4 * sureness)
        return Seen(item.label, box, 0.55 + 0.44 * sureness)

    def _moved(self, box: BoundingBox, rng: Rng) -> BoundingBox:
        left, top, right, bottom = box.x, box.y, box.right, box.bottom
        shift = rng.normal(0, self.jitter, 4) * np.array([box.width, box.height, box.width, box.height])
        corners = (
            left + shift[0],
            top + shift[1],
            max(left + shift[0] + _THINNEST, right + shift[2]),
            max(top + shift[1] + _THINNEST, bottom + shift[3]),
        )
        return BoundingBox.clipped(*(float(corner) for corner in corners)) or box
