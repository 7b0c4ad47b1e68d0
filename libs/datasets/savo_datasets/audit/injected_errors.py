"""Label errors of known kind and number, injected to measure how many of them an audit finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from savo_contracts.geometry import BoundingBox
from savo_datasets.audit.predictions import photo_key
from savo_datasets.audit.ranking import SuspectLabel
from savo_datasets.audit.suspicions import ErrorKind
from savo_datasets.formats.samples import Sample
from savo_datasets.labels import TruthBox

__all__ = ["FoundShares", "InjectedErrors", "inject_errors", "share_found"]

SHIFTS = (0.35, 0.7)
"""Smallest and greatest shift of a box, of its own side."""
SAME_PLACE = 0.5

Key = tuple[str, BoundingBox]
"""A photo and the box at the error: of the wrong label, or the one that was deleted."""


@dataclass(frozen=True)
class InjectedErrors:
    """Samples with errors, and where they are."""

    samples: Sequence[Sample]
    errors: Mapping[Key, ErrorKind]
    boxes: int
    """Before the injection."""

    def counts(self) -> dict[ErrorKind, int]:
        return dict(Counter(self.errors.values()))


@dataclass(frozen=True)
class FoundShares:
    """The share of the errors that is in the top of a ranking, 0…1."""

    all: float
    by_kind: Mapping[ErrorKind, tuple[float, int]]
    """Share and number of errors."""


def inject_errors(samples: Sequence[Sample], classes: Sequence[str], *, share: float, seed: int) -> InjectedErrors:
    """Swap the name, shift the box or delete the box of `share` of the labels, a third of them each."""
    rng = np.random.default_rng(seed)
    places = [(index, box) for index, sample in enumerate(samples) for box in range(len(sample.boxes))]
    chosen = rng.choice(len(places), round(share * len(places)), replace=False)
    kinds = {places[place]: list(ErrorKind)[number % len(ErrorKind)] for number, place in enumerate(chosen.tolist())}
    errors: dict[Key, ErrorKind] = {}
    changed = []
    for index, sample in enumerate(samples):
        boxes: list[TruthBox] = []
        for number, box in enumerate(sample.boxes):
            kind = kinds.get((index, number))
            wrong = box if kind is None else _with_error(box, kind, classes, rng)
            if kind is not None:
                errors[photo_key(sample), (wrong or box).bbox] = kind
            boxes += [wrong] if wrong else []
        changed.append(replace(sample, boxes=tuple(boxes)))
    return InjectedErrors(changed, errors, len(places))


def share_found(ranked: Iterable[SuspectLabel], injected: InjectedErrors, *, top: float) -> FoundShares:
    """Which errors the first `top` × boxes suspicions name. A suspicion at the error's place finds it, of any kind."""
    most = round(top * injected.boxes)
    found: Counter[ErrorKind] = Counter()
    left = dict(injected.errors)
    for entry, _ in zip(ranked, range(most), strict=False):
        if key := _error_at(entry, left):
            found[left.pop(key)] += 1
    counts = injected.counts()
    by_kind = {kind: (found[kind] / count, count) for kind, count in counts.items()}
    return FoundShares(found.total() / max(sum(counts.values()), 1), by_kind)


def _with_error(box: TruthBox, kind: ErrorKind, classes: Sequence[str], rng: np.random.Generator) -> TruthBox | None:
    if kind is ErrorKind.MISSING:
        return None
    if kind is ErrorKind.WRONG_NAME:
        others = [name for name in classes if name != box.label]
        return TruthBox(others[int(rng.integers(len(others)))], box.bbox)
    return TruthBox(box.label, _shifted(box.bbox, rng))


def _shifted(box: BoundingBox, rng: np.random.Generator) -> BoundingBox:
    """Moved by part of its own size in both directions, inside the photo."""
    across, down = (float(rng.uniform(*SHIFTS) * rng.choice((-1, 1))) for _ in range(2))
    x, y = _inside(box.x, across * box.width, box.width), _inside(box.y, down * box.height, box.height)
    return BoundingBox(x=x, y=y, width=box.width, height=box.height)


def _inside(start: float, shift: float, size: float) -> float:
    """The shifted start of a side; to the other direction where the photo ends, and at its edge at worst."""
    if not 0 <= start + shift <= 1 - size:
        shift = -shift
    return min(max(start + shift, 0.0), max(1 - size, 0.0))


def _error_at(entry: SuspectLabel, errors: Mapping[Key, ErrorKind]) -> Key | None:
    photo, box = photo_key(entry.sample), entry.suspicion.bbox
    if (photo, box) in errors:
        return photo, box
    missing = (key for key, kind in errors.items() if kind is ErrorKind.MISSING and key[0] == photo)
    return next((key for key in missing if key[1].iou(box) >= SAME_PLACE), None)
