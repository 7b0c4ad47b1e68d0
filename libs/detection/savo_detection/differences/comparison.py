"""Changes between two answers for a photo: boxes gained, lost, moved or relabelled.

Boxes are paired greedily, highest IoU first: boxes of the same label from IoU 0.3, then boxes of different labels from
IoU 0.5. A pair of the same label with an IoU of at least 0.8 is unchanged. An item without a box is paired with an item
of its label.
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
    "ComparedItem",
    "change_to_dict",
    "count_changes",
    "count_keys",
    "diff_boxes",
]

SAME_IOU = 0.8
MOVED_IOU = 0.3
RELABELLED_IOU = 0.5


class ComparedItem(Protocol):
    """An item of an answer: a detector's box, or an item of a scan."""

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
    """A difference between two answers.

    `before` is None for a gained item, `after` for a lost item. `iou` is None unless both have a box.
    """

    kind: ChangeKind
    before: ComparedItem | None
    after: ComparedItem | None
    iou: float | None = None


ChangeDict = Mapping[str, Any]
"""JSON form of a `Change`: `{"kind", "before", "after", "iou"}`, items as None or `{"label", "confidence", "bbox"}`."""

Pair = tuple[int, int, float | None]


def diff_boxes(before: Iterable[ComparedItem], after: Iterable[ComparedItem]) -> list[Change]:
    """The changes from one answer to another. Each item of either answer is in exactly one change.

    With the answers exchanged, gained items are lost and lost items are gained, and nothing else changes.
    """
    old, new = sorted(before, key=_sort_key), sorted(after, key=_sort_key)
    free_old, free_new = set(range(len(old))), set(range(len(new)))
    same_label = _pair_boxes(old, new, free_old, free_new, MOVED_IOU, lambda a, b: a.label == b.label)
    unboxed = _pair_without_boxes(old, new, free_old, free_new)
    relabelled = _pair_boxes(old, new, free_old, free_new, RELABELLED_IOU, lambda a, b: a.label != b.label)
    changes = [
        Change(ChangeKind.SAME if (iou or 1) >= SAME_IOU else ChangeKind.MOVED, old[i], new[j], iou)
        for i, j, iou in (*same_label, *unboxed)
    ]
    changes += [Change(ChangeKind.RELABELLED, old[i], new[j], iou) for i, j, iou in relabelled]
    changes += [Change(ChangeKind.LOST, old[i], None) for i in sorted(free_old)]
    return changes + [Change(ChangeKind.GAINED, None, new[j]) for j in sorted(free_new)]


def count_changes(changes: Iterable[Change]) -> dict[ChangeKind, int]:
    """Number of changes of every kind, including 0."""
    counted = Counter(change.kind for change in changes)
    return {kind: counted[kind] for kind in ChangeKind}


def change_to_dict(change: Change) -> dict[str, Any]:
    iou = None if change.iou is None else round(change.iou, 4)
    return {
        "kind": change.kind.value,
        "before": _item_to_dict(change.before),
        "after": _item_to_dict(change.after),
        "iou": iou,
    }


def count_keys(change: ChangeDict) -> list[tuple[str, str]]:
    """(label, count) pairs that a change adds 1 to in a table of changes by label.

    A relabelled item counts for both labels, an unchanged item for none.
    """
    before, after, kind = change["before"], change["after"], change["kind"]
    if kind == ChangeKind.RELABELLED:
        return [(before["label"], "renamed_from"), (after["label"], "renamed_to")]
    return [] if kind == ChangeKind.SAME else [((after or before)["label"], kind)]


def _item_to_dict(item: ComparedItem | None) -> dict[str, Any] | None:
    if item is None:
        return None
    return {
        "label": item.label,
        "confidence": round(item.confidence, 4),
        "bbox": item.bbox.model_dump() if item.bbox else None,
    }


def _pair_boxes(
    old: Sequence[ComparedItem],
    new: Sequence[ComparedItem],
    free_old: set[int],
    free_new: set[int],
    min_iou: float,
    can_pair: Callable[[ComparedItem, ComparedItem], bool],
) -> list[Pair]:
    overlaps = [
        (iou, i, j)
        for i in free_old
        for j in free_new
        if can_pair(old[i], new[j]) and (iou := _iou(old[i], new[j])) >= min_iou
    ]
    # The order of equal overlaps does not depend on which answer is the old one.
    overlaps.sort(key=lambda pair: (-pair[0], sorted((_sort_key(old[pair[1]]), _sort_key(new[pair[2]])))))
    paired: list[Pair] = []
    for iou, i, j in overlaps:
        if i in free_old and j in free_new:
            free_old.discard(i)
            free_new.discard(j)
            paired.append((i, j, iou))
    return paired


def _pair_without_boxes(
    old: Sequence[ComparedItem], new: Sequence[ComparedItem], free_old: set[int], free_new: set[int]
) -> list[Pair]:
    """Pairs of the same label in which an item has no box; pairs without any box come first."""
    paired: list[Pair] = []
    pairs = [
        (i, j)
        for i in sorted(free_old)
        for j in sorted(free_new)
        if old[i].label == new[j].label and (old[i].bbox is None or new[j].bbox is None)
    ]
    pairs.sort(key=lambda pair: ((old[pair[0]].bbox is not None) + (new[pair[1]].bbox is not None), pair))
    for i, j in pairs:
        if i in free_old and j in free_new:
            free_old.discard(i)
            free_new.discard(j)
            paired.append((i, j, None))
    return paired


def _iou(first: ComparedItem, second: ComparedItem) -> float:
    return first.bbox.iou(second.bbox) if first.bbox and second.bbox else 0.0


def _sort_key(item: ComparedItem) -> tuple[str, float, float, float, float, float]:
    box = item.bbox
    position = (box.x, box.y, box.width, box.height) if box else (-1.0, -1.0, -1.0, -1.0)
    return (item.label, *position, item.confidence)
