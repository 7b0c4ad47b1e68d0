"""A folder of labelled photos cut into train, val and test without leaking: what resembles each other stays together.

Photos of one session are near-copies; with one in train and one in test the test measures memory. So whole groups are
dealt out, never photos. A group is

1. what a table `name,group` says, where there is one (subjects.csv in the input, or --groups), else
2. a shooting session by file name: camera numbers of one prefix (IMG_6906 … IMG_7085) with no gap above `session_gap`,
   and counted names (carrot, carrot_2); what tools append (`_jpg.rf.<hash>`) is cut off first, then
3. joined where two photos are near-duplicates (64-bit difference hash, at most `near_bits` bits apart).

The largest groups are dealt first, each to the split that is furthest below its share; the seed breaks ties.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grouping", "Photo", "deal", "difference_hash", "group_photos", "session_groups"]

SPLITS = ("train", "val", "test")
NO_SESSION = 0

_EXPORTED = re.compile(r"(_(jpe?g|png|webp|heic))?\.rf\.[0-9a-zA-Z]+$", re.IGNORECASE)
_COUNTED = re.compile(r"^(?P<prefix>.*?)[_\- (]*(?P<number>\d{1,9})\)?$")
_HASHES = re.compile(r"^[0-9a-f]{32,}$")
_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Photo:
    """One photo of the input, by what grouping needs of it."""

    name: str
    """File name without its ending."""
    hash: int
    """64-bit difference hash."""


@dataclass(frozen=True)
class Grouping:
    session_gap: int = 20
    """Largest gap between camera numbers of one session; 0 ignores names."""
    near_bits: int = 6
    """Largest distance of near-duplicates in bits; negative ignores likeness."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, as somebody who knows wrote it down."""


def group_photos(photos: Sequence[Photo], grouping: Grouping) -> list[str]:
    """The group of each photo, named after its first member."""
    names = [photo.name for photo in photos]
    first = [grouping.named.get(name) or session for name, session in zip(names, session_groups(names, grouping.session_gap), strict=True)]
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


def deal(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """The split of each photo. Raises `ValueError` with fewer groups than splits."""
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)  # noqa: S311 reproducible, not secret
    order.sort(key=lambda group: -sizes[group])
    missing = {split: share * len(groups) for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    if len(order) < len(missing):
        raise ValueError(f"{len(groups)} photos form {len(sizes)} group(s), too few for {len(missing)} splits")
    given: dict[str, str] = {}
    for group in order:
        split = max(missing, key=lambda name: missing[name])
        given[group] = split
        missing[split] -= sizes[group]
    _fill(given, order, missing)
    return [given[group] for group in groups]


def _fill(given: dict[str, str], order: Sequence[str], splits: Iterable[str]) -> None:
    """A split left empty gets the smallest group of the split that has most of them."""
    for split in splits:
        if split not in given.values():
            fullest = Counter(given.values()).most_common(1)[0][0]
            given[next(group for group in reversed(order) if given[group] == fullest)] = split


def difference_hash(grey: NDArray[np.uint8]) -> int:
    """Whether each of 8×8 pixels is darker than its right neighbour, as 64 bits. Takes 8 rows × 9 columns."""
    bits = (grey[:, 1:] > grey[:, :-1]).flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: Sequence[int], bits: int) -> Iterable[tuple[int, int]]:
    """Index pairs at most `bits` apart."""
    if bits < 0:
        return
    values = np.asarray(hashes, np.uint64)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = values[start : start + _ROWS_AT_ONCE]
        apart = np.bitwise_count(rows[:, None] ^ values[None, :])
        for row, column in np.argwhere(apart <= bits).tolist():
            if start + row < column:
                yield start + row, column


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
