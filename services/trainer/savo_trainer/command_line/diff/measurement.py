"""Measurement of two models on the same photos: counts, AP with the paired gain, latency, most changed photos."""

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
from savo_trainer.command_line.diff.photo_comparison import ComparedModel, PhotoComparison, compare_photo
from savo_trainer.command_line.diff.photos import ComparedPhoto, PhotoSet
from savo_trainer.models.evaluation import as_evaluation

__all__ = ["Differences", "measure_differences"]

TIMED_PHOTOS = 50

Clock = Callable[[], float]


@dataclass(frozen=True)
class Differences:
    """Result of the measurement."""

    summary: dict[str, Any]
    """As `--json` prints it, without paths."""
    most_changed: Sequence[tuple[ComparedPhoto, dict[str, Any]]]
    """The photos with the most changes, in descending order, each with its line of differences.jsonl."""


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
    """Run both models on every photo and write a JSON line for each photo to `lines`. Slow: run it in a thread.

    `pictures` limits `most_changed`. One photo is in memory at a time.
    """
    sums = _Sums(pictures)
    for number, photo in enumerate(photos.photos):
        on_progress(number, len(photos.photos))
        line = sums.add(photo, before, after)
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
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
    return Differences(summary, sums.most_changed())


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
    _heap: list[tuple[int, int, ComparedPhoto, dict[str, Any]]] = field(default_factory=list)

    def add(self, photo: ComparedPhoto, before: ComparedModel, after: ComparedModel) -> dict[str, Any]:
        try:
            comparison = compare_photo(photo, photo.path.read_bytes(), before, after)
        except (PhotoError, OSError):
            self.photos["unreadable"] += 1
            return {"photo": photo.name, "unreadable": True}
        self.photos["compared"] += 1
        self.photos["changed" if comparison.changed else "unchanged"] += 1
        if len(self.readable) < TIMED_PHOTOS:
            self.readable.append(photo)
        self._count(comparison)
        self._keep(photo, comparison)
        return comparison.line

    def _count(self, comparison: PhotoComparison) -> None:
        self.true_boxes += comparison.line["truth"] or 0
        for change in comparison.line["changes"]:
            self.kinds[change["kind"]] += 1
            self.judged[change["kind"], change.get("before_right"), change.get("after_right")] += 1
            for label, column in count_keys(change):
                self.by_label.setdefault(label, Counter())[column] += 1
        for kept, record in zip(self.records, comparison.records or (), strict=False):
            kept.append(record)

    def _keep(self, photo: ComparedPhoto, comparison: PhotoComparison) -> None:
        if comparison.changed and self.pictures:
            heapq.heappush(self._heap, (comparison.changed, -self.photos["compared"], photo, comparison.line))
            if len(self._heap) > self.pictures:
                heapq.heappop(self._heap)

    def most_changed(self) -> list[tuple[ComparedPhoto, dict[str, Any]]]:
        return [(photo, line) for _, _, photo, line in sorted(self._heap, key=lambda kept: kept[:2], reverse=True)]

    def measured(self) -> dict[str, Any]:
        """mAP@0.5 of both, the paired gain, AP by class, largest changes first. None and [] without labelled boxes."""
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
            side: _with_interval(measured.map50, measured.map50_lower, measured.map50_upper, several)
            for side, measured in (("before", before), ("after", after))
        }
        paired = _with_interval(gain.gain, gain.lower, gain.upper, several)
        return {
            "map50": points,
            "gain": paired,
            "classes": sorted(rows, key=lambda row: (-abs(row["gain"]), row["label"])),
        }

    def judged_boxes(self) -> dict[str, int] | None:
        """Changes that are right or wrong by the labels; None without labels."""
        if not self.records[0]:
            return None
        keys = {
            "gained_right": ("gained", None, True), "gained_wrong": ("gained", None, False),
            "lost_right": ("lost", True, None), "lost_wrong": ("lost", False, None),
        }  # fmt: skip
        counts = {name: self.judged[key] for name, key in keys.items()}
        in_both = ("relabelled", "moved", "same")
        counts["now_right"] = sum(self.judged[kind, False, True] for kind in in_both)
        counts["now_wrong"] = sum(self.judged[kind, True, False] for kind in in_both)
        return counts

    def labels(self) -> list[dict[str, Any]]:
        return [
            {"label": label, **counted}
            for label, counted in sorted(self.by_label.items(), key=lambda entry: (-entry[1].total(), entry[0]))
        ]


def _with_interval(point: float, lower: float, upper: float, several: bool) -> dict[str, float | None]:
    """No interval for a single group: every bootstrap draw is the same."""
    return {"point": point, "lower": lower if several else None, "upper": upper if several else None}


def _class_row(label: str, before: float, after: float, change: ClassGain, groups: int) -> dict[str, Any]:
    """`groups`: number of groups with the class."""
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
        "name": model.name,
        "sha256": facts.sha256,
        "bytes": facts.bytes,
        "image_size": list(detector.image_size),
        "classes": list(detector.classes),
    }


def _latency(
    photos: Iterable[ComparedPhoto], before: ComparedModel, after: ComparedModel, clock: Clock
) -> dict[str, Any] | None:
    """Photo bytes to boxes, as in serving. The models alternate, so that other load on the machine affects both."""
    durations: dict[str, list[float]] = {"before": [], "after": []}
    pair = (("before", before), ("after", after))
    for model in (before, after):
        model.detector.warm_up()
    for number, photo in enumerate(photos):
        data = photo.path.read_bytes()
        for side, model in pair if number % 2 else reversed(pair):
            started = clock()
            model.detector.detect(data)
            durations[side].append((clock() - started) * 1000)
    if not durations["before"]:
        return None
    return {"photos": len(durations["before"])} | {
        side: {"p50": round(float(np.percentile(times, 50)), 2), "p95": round(float(np.percentile(times, 95)), 2)}
        for side, times in durations.items()
    }
