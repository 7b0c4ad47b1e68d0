"""What changed between two answers for one photo: boxes gained, lost, moved, or given another label.

Pairs are taken greedily, the most overlapping first: of the same label from IoU 0.3 on, then of different labels from IoU 0.5 on.
A pair of one label that overlaps by 0.8 or more is the same. An item without a box pairs with one of its own label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from savo_contracts.geometry import BoundingBox

__all__ = [
    "Change",
    "ChangeDict",
    "ChangeKind",
    "Seen",
    "change_to_dict",
    "count_changes",
    "count_keys",
    "diff_boxes",
]

SAME_IOU = 0.8
MOVED_IOU = 0.3
RELABELLED_IOU = 0.5


class Seen(Protocol):
    """One thing in an answer: a detector's box, or an item of a scan."""

    @property
    def label(self) -> str: ...

    @property
    def confidence(self) -> float: ...

    @property
    def bbox(self) -> BoundingBox | None: ...


class ChangeKind(StrEnum):
    SAME = "same"
    MOVED = "moved"
    RELABELLED = "relabelled"
    GAINED = "gained"
    LOST = "lost"


@dataclass(frozen=True)
class Change:
    """`before` is None for what was gained, `after` for what was lost. `iou` is None without two boxes."""

    kind: ChangeKind
    before: Seen | None
    after: Seen | None
    iou: float | None = None


ChangeDict = Mapping[str, Any]
"""`{"kind", "before", "after", "iou"}`, where before and after are None or `{"label", "confidence", "bbox"}`: as JSON holds it."""

Pair = tuple[int, int, float | None]


def diff_boxes(before: Iterable[Seen], after: Iterable[Seen]) -> list[Change]:
    """Each thing of either answer in exactly one change. Turned round, gained and lost change places and nothing else does."""
    old, new = sorted(before, key=_place), sorted(after, key=_place)
    free_old, free_new = set(range(len(old))), set(range(len(new)))
    same_label = _paired(old, new, free_old, free_new, MOVED_IOU, lambda one, other: one.label == other.label)
    unboxed = _unboxed(old, new, free_old, free_new)
    relabelled = _paired(old, new, free_old, free_new, RELABELLED_IOU, lambda one, other: one.label != other.label)
    changes = [
        Change(ChangeKind.SAME if (iou or 1) >= SAME_IOU else ChangeKind.MOVED, old[i], new[j], iou)
        for i, j, iou in (*same_label, *unboxed)
    ]
    changes += [Change(ChangeKind.RELABELLED, old[i], new[j], iou) for i, j, iou in relabelled]
    changes += [Change(ChangeKind.LOST, old[i], None) for i in sorted(free_old)]
    return changes + [Change(ChangeKind.GAINED, None, new[j]) for j in sorted(free_new)]


def count_changes(changes: Iterable[Change]) -> dict[ChangeKind, int]:
    """Of every kind, also those that did not happen."""
    counted = Counter(change.kind for change in changes)
    return {kind: counted[kind] for kind in ChangeKind}


def change_to_dict(change: Change) -> dict[str, Any]:
    iou = None if change.iou is None else round(change.iou, 4)
    return {"kind": change.kind.value, "before": _plain(change.before), "after": _plain(change.after), "iou": iou}


def count_keys(change: ChangeDict) -> list[tuple[str, str]]:
    """Which label the change is counted under, and as what; another name counts under both, and what is the same under none."""
    before, after, kind = change["before"], change["after"], change["kind"]
    if kind == ChangeKind.RELABELLED:
        return [(before["label"], "renamed_from"), (after["label"], "renamed_to")]
    return [] if kind == ChangeKind.SAME else [((after or before)["label"], kind)]


def _plain(seen: Seen | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    return {
        "label": seen.label,
        "confidence": round(seen.confidence, 4),
        "bbox": seen.bbox.model_dump() if seen.bbox else None,
    }


def _paired(
    old: Sequence[Seen],
    new: Sequence[Seen],
    free_old: set[int],
    free_new: set[int],
    least: float,
    fits: Callable[[Seen, Seen], bool],
) -> list[Pair]:
    overlaps = [
        (iou, i, j)
        for i in free_old
        for j in free_new
        if fits(old[i], new[j]) and (iou := _iou(old[i], new[j])) >= least
    ]
    taken: list[Pair] = []
    for iou, i, j in sorted(
        overlaps, key=lambda pair: (-pair[0], sorted((_place(old[pair[1]]), _place(new[pair[2]]))))
    ):
        if i in free_old and j in free_new:
            free_old.discard(i)
            free_new.discard(j)
            taken.append((i, j, iou))
    return taken


def _unboxed(old: Sequence[Seen], new: Sequence[Seen], free_old: set[int], free_new: set[int]) -> list[Pair]:
    """Two of one label, at least one of them without a place: those without any first."""
    taken: list[Pair] = []
    pairs = [
        (i, j)
        for i in sorted(free_old)
        for j in sorted(free_new)
        if old[i].label == new[j].label and (old[i].bbox is None or new[j].bbox is None)
    ]
    for i, j in sorted(
        pairs, key=lambda pair: ((old[pair[0]].bbox is not None) + (new[pair[1]].bbox is not None), pair)
    ):
        if i in free_old and j in free_new:
            free_old.discard(i)
            free_new.discard(j)
            taken.append((i, j, None))
    return taken


def _iou(one: Seen, other: Seen) -> float:
    return one.bbox.iou(other.bbox) if one.bbox and other.bbox else 0.0


def _place(seen: Seen) -> tuple[str, float, float, float, float, float]:
    """An order that depends on the thing alone."""
    box = seen.bbox
    return (seen.label, *((box.x, box.y, box.width, box.height) if box else (-1.0, -1.0, -1.0, -1.0)), seen.confidence)
