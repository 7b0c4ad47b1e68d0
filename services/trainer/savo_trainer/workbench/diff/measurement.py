"""All photos through both models: sums, AP with the paired gain, latency, and the photos on which they differ most."""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np

from savo_detection.differences.comparison import ChangeKind, count_keys
from savo_detection.errors import PhotoError
from savo_detection.evaluation.evaluator import INTERVAL, ClassGain, ImageRecord, compare, summarise
from savo_trainer.models.evaluation import as_evaluation
from savo_trainer.workbench.diff.photo_comparison import ComparedModel, PhotoComparison, compare_photo
from savo_trainer.workbench.diff.photos import ComparedPhoto, PhotoSet

__all__ = ["Differences", "measure_differences"]

TIMED_PHOTOS = 50

Clock = Callable[[], float]


@dataclass(frozen=True)
class Differences:
    summary: dict[str, Any]
    """As `--json` prints it, without places."""
    most: Sequence[tuple[ComparedPhoto, dict[str, Any]]]
    """The photos that differ most, the most changed first, each with its line of differences.jsonl."""


def measure_differences(
    photos: PhotoSet,
    before: ComparedModel,
    after: ComparedModel,
    lines: TextIO,
    *,
    pictures: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    clock: Clock = time.perf_counter,
) -> Differences:
    """Slow: run it in a thread. Writes a line a photo to `lines`; one photo is in memory at a time."""
    sums = _Sums(pictures)
    for number, photo in enumerate(photos.photos):
        on_progress(number, len(photos.photos))
        seen = sums.note(photo, before, after)
        lines.write(json.dumps(seen, ensure_ascii=False) + "\n")
    on_progress(len(photos.photos), len(photos.photos))
    summary = {
        "data": {"name": photos.name, "photos": len(photos.photos), "boxes": sums.true_boxes},
        "models": {"before": _facts(before), "after": _facts(after)},
        "latency_ms": _latency(sums.readable, before, after, clock),
        **sums.measured(),
        "boxes": dict(sums.kinds),
        "judged": sums.judged_boxes(),
        "labels": sums.labels(),
        "photos": {name: sums.photos[name] for name in ("compared", "changed", "unchanged", "unreadable")},
    }
    return Differences(summary, sums.most())


@dataclass
class _Sums:
    pictures: int
    photos: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=lambda: Counter({kind.value: 0 for kind in ChangeKind}))
    by_label: dict[str, Counter[str]] = field(default_factory=dict)
    judged: Counter[tuple[str, bool | None, bool | None]] = field(default_factory=Counter)
    records: tuple[list[ImageRecord], list[ImageRecord]] = field(default_factory=lambda: ([], []))
    readable: list[ComparedPhoto] = field(default_factory=list)
    true_boxes: int = 0
    _most: list[tuple[int, int, ComparedPhoto, dict[str, Any]]] = field(default_factory=list)

    def note(self, photo: ComparedPhoto, before: ComparedModel, after: ComparedModel) -> dict[str, Any]:
        try:
            seen = compare_photo(photo, photo.path.read_bytes(), before, after)
        except (PhotoError, OSError):
            self.photos["unreadable"] += 1
            return {"photo": photo.name, "unreadable": True}
        self.photos["compared"] += 1
        self.photos["changed" if seen.changed else "unchanged"] += 1
        if len(self.readable) < TIMED_PHOTOS:
            self.readable.append(photo)
        self._count(seen)
        self._keep(photo, seen)
        return seen.line

    def _count(self, seen: PhotoComparison) -> None:
        self.true_boxes += seen.line["truth"] or 0
        for change in seen.line["changes"]:
            self.kinds[change["kind"]] += 1
            self.judged[change["kind"], change.get("before_right"), change.get("after_right")] += 1
            for label, what in count_keys(change):
                self.by_label.setdefault(label, Counter())[what] += 1
        for kept, record in zip(self.records, seen.records or (), strict=False):
            kept.append(record)

    def _keep(self, photo: ComparedPhoto, seen: PhotoComparison) -> None:
        if seen.changed and self.pictures:
            heapq.heappush(self._most, (seen.changed, -self.photos["compared"], photo, seen.line))
            if len(self._most) > self.pictures:
                heapq.heappop(self._most)

    def most(self) -> list[tuple[ComparedPhoto, dict[str, Any]]]:
        return [(photo, line) for _, _, photo, line in sorted(self._most, key=lambda kept: kept[:2], reverse=True)]

    def measured(self) -> dict[str, Any]:
        """mAP@0.5 of each, the paired gain, and AP by class, the biggest changes first; None and nothing without a labelled box."""
        if not self.true_boxes:
            return {"map50": None, "gain": None, "classes": []}
        before, after = (as_evaluation(summarise(records)) for records in self.records)
        gain = compare(self.records[1], self.records[0])
        rows = [
            _class_row(label, before.per_class[label], after.per_class[label], change, _groups(label, self.records[0]))
            for label, change in gain.per_class.items()
        ]
        several = len({record.group for record in self.records[0]}) > 1
        points = {
            side: _with_interval(of.map50, of.map50_lower, of.map50_upper, several)
            for side, of in (("before", before), ("after", after))
        }
        paired = _with_interval(gain.gain, gain.lower, gain.upper, several)
        return {
            "map50": points,
            "gain": paired,
            "classes": sorted(rows, key=lambda row: (-abs(row["gain"]), row["label"])),
        }

    def judged_boxes(self) -> dict[str, int] | None:
        """Of the changes, those that labels speak for and against; None without labels."""
        if not self.records[0]:
            return None
        wanted = {
            "gained_right": ("gained", None, True), "gained_wrong": ("gained", None, False),
            "lost_right": ("lost", True, None), "lost_wrong": ("lost", False, None),
        }  # fmt: skip
        plain = {name: self.judged[key] for name, key in wanted.items()}
        turned = ("relabelled", "moved", "same")
        plain["now_right"] = sum(self.judged[kind, False, True] for kind in turned)
        plain["now_wrong"] = sum(self.judged[kind, True, False] for kind in turned)
        return plain

    def labels(self) -> list[dict[str, Any]]:
        return [
            {"label": label, **counted}
            for label, counted in sorted(self.by_label.items(), key=lambda entry: (-entry[1].total(), entry[0]))
        ]


def _with_interval(point: float, lower: float, upper: float, several: bool) -> dict[str, float | None]:
    """One group alone gives none: drawn again and again, it always says the same."""
    return {"point": point, "lower": lower if several else None, "upper": upper if several else None}


def _class_row(label: str, before: float, after: float, change: ClassGain, groups: int) -> dict[str, Any]:
    """`groups`: those that hold the class."""
    lower, upper = np.nanpercentile(change.draws, INTERVAL).tolist() if groups > 1 else (None, None)
    return {
        "label": label,
        "boxes": change.boxes,
        "groups": groups,
        "before": before,
        "after": after,
        "gain": change.gain,
        "lower": lower,
        "upper": upper,
    }


def _groups(label: str, records: Iterable[ImageRecord]) -> int:
    return len({record.group for record in records if record.truth.get(label)})


def _facts(model: ComparedModel) -> dict[str, Any]:
    facts, detector = model.detector.version_info, model.detector
    return {
        "name": model.name, "sha256": facts.sha256, "bytes": facts.bytes, "image_size": list(detector.image_size), "classes": list(detector.classes),
    }  # fmt: skip


def _latency(
    photos: Iterable[ComparedPhoto], before: ComparedModel, after: ComparedModel, clock: Clock
) -> dict[str, Any] | None:
    """Bytes to boxes as in serving, in turn on the same photos, so that a busy moment of the machine meets both."""
    took: dict[str, list[float]] = {"before": [], "after": []}
    pair = (("before", before), ("after", after))
    for model in (before, after):
        model.detector.warm_up()
    for number, photo in enumerate(photos):
        data = photo.path.read_bytes()
        for side, model in pair if number % 2 else reversed(pair):
            began = clock()
            model.detector.detect(data)
            took[side].append((clock() - began) * 1000)
    if not took["before"]:
        return None
    return {"photos": len(took["before"])} | {
        side: {"p50": round(float(np.percentile(times, 50)), 2), "p95": round(float(np.percentile(times, 95)), 2)}
        for side, times in took.items()
    }
