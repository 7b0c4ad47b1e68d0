"""Which photos belong together: near-copies that must not stand in both train and test.

Photos of one session are near-copies; with one in train and one in test the test measures memory. A group is

1. what a table `name,group` says, where there is one (subjects.csv in the input, or --groups), else
2. a shooting session by file name: camera numbers of one prefix (IMG_6906 … IMG_7085) with no gap above
   `session_gap`, and counted names (carrot, carrot_2); what tools append (`_jpg.rf.<hash>`) is cut off first, then
3. joined where two photos are near-duplicates (64-bit difference hash, at most `near_bits` bits apart).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_datasets.errors import DatasetError

__all__ = [
    "GROUPS_FILE",
    "SUBJECTS_FILE",
    "Grouping",
    "Photo",
    "difference_hash",
    "group_photos",
    "near_pairs",
    "read_groups",
    "session_groups",
    "write_groups",
]

GROUPS_FILE = "groups.csv"
"""Of a prepared data set: name, split and group of each photo."""
SUBJECTS_FILE = "subjects.csv"
"""Of an input: name and group of each photo."""

NO_SESSION = 0

_EXPORTED = re.compile(r"(_(jpe?g|png|webp|heic))?\.rf\.[0-9a-zA-Z]+$", re.IGNORECASE)
_COUNTED = re.compile(r"^(?P<prefix>.*?)[_\- (]*(?P<number>\d{1,9})\)?$")
_HASHES = re.compile(r"^[0-9a-f]{32,}$")
_PHOTO_NAME = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Photo:
    """One photo of the input, by what grouping needs of it."""

    name: str
    """File name without its suffix."""
    hash: int
    """64-bit difference hash."""


@dataclass(frozen=True)
class Grouping:
    """How groups are found."""

    session_gap: int = 20
    """Largest gap between camera numbers of one session; 0 ignores names."""
    near_bits: int = 6
    """Largest distance of near-duplicates in bits; negative ignores likeness."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, from a table."""


def group_photos(photos: Sequence[Photo], grouping: Grouping) -> list[str]:
    """The group of each photo, named after its first member."""
    names = [photo.name for photo in photos]
    sessions = session_groups(names, grouping.session_gap)
    first = [grouping.named.get(name) or session for name, session in zip(names, sessions, strict=True)]
    links = _Links(len(photos))
    by_group: dict[str, int] = {}
    for index, group in enumerate(first):
        links.join(index, by_group.setdefault(group, index))
    for one, other in near_pairs([photo.hash for photo in photos], grouping.near_bits):
        links.join(one, other)
    return [first[links.root(index)] for index in range(len(photos))]


def session_groups(names: Sequence[str], gap: int) -> list[str]:
    """A session's name for each photo, by file names alone."""
    if gap == NO_SESSION:
        return list(names)
    counted = {name: _prefix_and_number(name) for name in names}
    numbers: dict[str, list[int]] = {}
    for prefix, number in filter(None, counted.values()):
        numbers.setdefault(prefix, []).append(number)
    starts = {prefix: _session_starts(sorted(found), gap) for prefix, found in numbers.items()}
    return [_session_of(name, counted[name], starts) for name in names]


def difference_hash(photo: bytes) -> int | None:
    """Whether each of 8×8 pixels is brighter than its left neighbour, as 64 bits; None for no readable photo."""
    grey = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if photo else None
    if grey is None:
        return None
    small: NDArray[np.uint8] = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: Sequence[int], bits: int) -> Iterable[tuple[int, int]]:
    """Index pairs at most `bits` apart."""
    if bits < 0:
        return
    values = np.asarray(hashes, np.uint64)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = values[start : start + _ROWS_AT_ONCE]
        distances = np.bitwise_count(rows[:, None] ^ values[None, :])
        for row, column in np.argwhere(distances <= bits).tolist():
            if start + row < column:
                yield start + row, column


def read_groups(path: Path) -> dict[str, str]:
    """Group by photo name, from `name,group` rows with a heading; empty without the file. Raises `DatasetError`."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"name", "group"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{path} needs a heading with name and group")
        return {_stem(row["name"]): row["group"] for row in rows}


def write_groups(path: Path, names: Sequence[str], splits: Sequence[str], groups: Sequence[str]) -> None:
    """`name,split,group` rows, in order."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "split", "group"])
        rows.writerows(sorted(zip(names, splits, groups, strict=True)))


class _Links:
    """Which photos hang together (union-find; the lowest index leads)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low


def _stem(name: str) -> str:
    """A photo's file name without its suffix; any other name as it is."""
    return Path(name).stem if _PHOTO_NAME.search(name) else name


def _prefix_and_number(name: str) -> tuple[str, int] | None:
    bare = _EXPORTED.sub("", name)
    if _HASHES.match(bare):
        return None
    found = _COUNTED.match(bare)
    return (found["prefix"], int(found["number"])) if found else (bare, 0)


def _session_starts(numbers: Sequence[int], gap: int) -> list[int]:
    return [number for index, number in enumerate(numbers) if index == 0 or number - numbers[index - 1] > gap]


def _session_of(name: str, counted: tuple[str, int] | None, starts: Mapping[str, Sequence[int]]) -> str:
    if counted is None:
        return name
    prefix, number = counted
    return f"{prefix}#{max(start for start in starts[prefix] if start <= number)}"
