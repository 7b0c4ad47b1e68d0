"""Groups of similar photos, which must not be divided between train and test.

Photos of one shooting session are near-copies: with some in train and some in test, the test measures memorisation.

1. A table `name,group` (subjects.csv in the input, or --groups) assigns groups.
2. Other photos are grouped into shooting sessions by file name: camera numbers of one prefix (IMG_6906 … IMG_7085)
   without a gap above `session_gap`, and numbered names (carrot, carrot_2). Suffixes of export tools
   (`_jpg.rf.<hash>`) are ignored.
3. Groups with near-duplicate photos (64-bit difference hashes at most `near_bits` bits apart) are merged.
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
"""File of a prepared data set with name, split and group of each photo."""
SUBJECTS_FILE = "subjects.csv"
"""File of an input folder with name and group of each photo."""

NO_SESSION = 0

_EXPORTED = re.compile(r"(_(jpe?g|png|webp|heic))?\.rf\.[0-9a-zA-Z]+$", re.IGNORECASE)
_COUNTED = re.compile(r"^(?P<prefix>.*?)[_\- (]*(?P<number>\d{1,9})\)?$")
_HASHES = re.compile(r"^[0-9a-f]{32,}$")
_PHOTO_NAME = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Photo:
    """A photo's attributes for grouping."""

    name: str
    """File name without suffix."""
    hash: int
    """64-bit difference hash."""


@dataclass(frozen=True)
class Grouping:
    """Parameters of grouping."""

    session_gap: int = 20
    """Largest gap between camera numbers of one session; 0 turns grouping by file name off."""
    near_bits: int = 6
    """Largest distance of near-duplicates in bits; a negative number turns grouping by hash off."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, from a table."""


def group_photos(photos: Sequence[Photo], grouping: Grouping) -> list[str]:
    """The name of each photo's group, in the order of `photos`. A group has the name of its first photo's group."""
    names = [photo.name for photo in photos]
    sessions = session_groups(names, grouping.session_gap)
    initial = [grouping.named.get(name) or session for name, session in zip(names, sessions, strict=True)]
    sets = _DisjointSets(len(photos))
    by_group: dict[str, int] = {}
    for index, group in enumerate(initial):
        sets.join(index, by_group.setdefault(group, index))
    for first, second in near_pairs([photo.hash for photo in photos], grouping.near_bits):
        sets.join(first, second)
    return [initial[sets.root(index)] for index in range(len(photos))]


def session_groups(names: Sequence[str], gap: int) -> list[str]:
    """The shooting session of each photo, by file name. `gap`: see `Grouping.session_gap`."""
    if gap == NO_SESSION:
        return list(names)
    counted = {name: _prefix_and_number(name) for name in names}
    numbers: dict[str, list[int]] = {}
    for prefix, number in filter(None, counted.values()):
        numbers.setdefault(prefix, []).append(number)
    starts = {prefix: _session_starts(sorted(found), gap) for prefix, found in numbers.items()}
    return [_session_of(name, counted[name], starts) for name in names]


def difference_hash(photo: bytes) -> int | None:
    """Difference hash (dHash): a bit for each of 8×8 pixels, set when it is brighter than its left neighbour.

    None for a photo that OpenCV cannot decode.
    """
    try:
        grey = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if photo else None
    except cv2.error:  # sizes above OpenCV's limits
        return None
    if grey is None or grey.size == 0:
        return None
    small: NDArray[np.uint8] = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: Sequence[int], bits: int) -> Iterable[tuple[int, int]]:
    """Index pairs of hashes that differ in at most `bits` bits."""
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
    """Group by photo name, from a CSV file with the columns `name` and `group`; empty when there is no such file.

    Raises `DatasetError` when a column is missing.
    """
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"name", "group"} <= set(rows.fieldnames or ()):
            raise DatasetError(f"{path} needs a first row with the column names: name,group")
        return {_stem(row["name"]): row["group"] for row in rows}


def write_groups(path: Path, names: Sequence[str], splits: Sequence[str], groups: Sequence[str]) -> None:
    """Write a CSV file with the columns `name`, `split` and `group`, sorted by name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "split", "group"])
        rows.writerows(sorted(zip(names, splits, groups, strict=True)))


class _DisjointSets:
    """Union-find over the indices of photos. The lowest index of a set is its root."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low


def _stem(name: str) -> str:
    """The name without the suffix of a photo file. Other suffixes are part of the name."""
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
