"""Boxes of each class in each split: what a split lacks, and which classes are measured within one session."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from savo_datasets.groups import Groups
from savo_datasets.splits import SPLITS

__all__ = ["SPLIT_REPORT_FILE", "ClassTable", "class_table", "read_same_session"]

SPLIT_REPORT_FILE = "split_report.json"
"""File of a prepared data set with its class table."""

_MIN_LARGE_GROUP = 0.5
_TRAIN = SPLITS[0]


@dataclass(frozen=True)
class ClassTable:
    """Class × split, with what is missing."""

    boxes: Mapping[str, Mapping[str, int]]
    """Number of boxes by class and split."""
    missing: Mapping[str, Sequence[str]]
    """Classes that a split with a share lacks although another split has them, by split."""
    gaps: Mapping[str, Sequence[str]]
    """Those of `missing` that train lacks, or that the split could have had while train has all, by split."""
    same_session: Sequence[str]
    """Classes whose photos in val or in test are all from sessions that train has too: figures for them are high."""
    empty: Sequence[str]
    """Splits with a share and without photos."""
    largest_group: tuple[str, float]
    """Name of the largest group, and its share of the photos."""

    @property
    def warnings(self) -> list[str]:
        """What to know before training, a sentence each."""
        found = [f"{split} has no photo: train needs each group that is left: label more" for split in self.empty]
        name, share = self.largest_group
        if share > _MIN_LARGE_GROUP:
            found.append(f"the group of {name} has {share:.0%} of the photos and stays in one split")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Content of the report, for JSON."""
        return {
            "class_boxes": self.boxes,
            "missing": self.missing,
            "gaps": self.gaps,
            "same_session": self.same_session,
            "warnings": self.warnings,
        }

    def write(self, folder: Path) -> None:
        text = json.dumps(self.as_dict(), ensure_ascii=False, indent=2)
        (folder / SPLIT_REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")


def class_table(
    names: Sequence[str],
    boxes: Sequence[Mapping[int, int]],
    splits: Sequence[str],
    groups: Groups,
    *,
    expected: Collection[str] = SPLITS,
    train_only: Collection[str] = (),
    is_fixed: bool = False,
) -> ClassTable:
    """The table of a data set, from the boxes by class id, the split and the group of each photo.

    `expected`: splits with a share. `train_only`: groups that cannot be in val or test. `is_fixed`: the splits were
    given, so val and test could not have had more classes.
    """
    found = [_Class() for _ in names]
    train_sessions = {session for session, split in zip(groups.sessions, splits, strict=True) if split == _TRAIN}
    for photo, split, group, session in zip(boxes, splits, groups.groups, groups.sessions, strict=True):
        for class_id, count in photo.items():
            found[class_id].add(split, count, group, is_own=session not in train_sessions)
    active = [split for split in SPLITS if split in expected]
    by_name = dict(zip(names, found, strict=True))
    movable = _movable_groups(found).difference(train_only)
    missing = {split: [name for name, entry in by_name.items() if entry.lacks(split)] for split in active}
    gaps = {
        split: [
            name
            for name in lacking
            if split == _TRAIN or (not is_fixed and by_name[name].could_be_in_more(movable, has_train=_TRAIN in active))
        ]
        for split, lacking in missing.items()
    }
    return ClassTable(
        boxes={name: {split: entry.boxes[split] for split in SPLITS} for name, entry in by_name.items()},
        missing=missing,
        gaps=gaps,
        same_session=[name for name, entry in by_name.items() if entry.is_same_session],
        empty=[split for split in active if split not in splits],
        largest_group=_largest(groups.groups),
    )


def read_same_session(folder: Path) -> tuple[str, ...]:
    """Classes of a prepared data set that are measured within one session; empty without a report."""
    path = folder / SPLIT_REPORT_FILE
    if not path.exists():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8"))["same_session"])


class _Class:
    """What is known of a class."""

    def __init__(self) -> None:
        self.boxes: Counter[str] = Counter()
        self.groups: set[str] = set()
        self._own: set[str] = set()
        """Splits with photos from sessions that train does not have."""

    def add(self, split: str, count: int, group: str, *, is_own: bool) -> None:
        self.boxes[split] += count
        self.groups.add(group)
        if is_own:
            self._own.add(split)

    def lacks(self, split: str) -> bool:
        return bool(self.boxes) and split not in self.boxes

    def could_be_in_more(self, movable: Collection[str], *, has_train: bool) -> bool:
        """Whether one more of val and test could have it. `movable`: groups that train can do without."""
        measured = len(self.boxes.keys() - {_TRAIN})
        return len(self.groups.intersection(movable)) > measured and len(self.groups) > measured + has_train

    @property
    def is_same_session(self) -> bool:
        return any(split not in self._own for split in self.boxes if split != _TRAIN)


def _movable_groups(classes: Sequence[_Class]) -> set[str]:
    """Groups without a class that no other group has. All others must stay in train."""
    needed = {group for entry in classes if len(entry.groups) == 1 for group in entry.groups}
    return {group for entry in classes for group in entry.groups} - needed


def _largest(groups: Sequence[str]) -> tuple[str, float]:
    name, count = Counter(groups).most_common(1)[0] if groups else ("", 0)
    return name, count / max(len(groups), 1)
