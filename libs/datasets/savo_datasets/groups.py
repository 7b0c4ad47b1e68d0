"""Groups of photos, which must not be divided between train and test.

Photos of one shooting session are near-copies: with some in train and some in test, the test measures memorisation.

1. A table `name,group` (subjects.csv in the input, or --groups) assigns groups.
2. Other photos form shooting sessions by capture time or camera number (`sessions.py`).
3. Groups with photos that look alike are merged (`look_alikes.py`).
4. A session that alone holds a class is cut at its widest gaps, so that the class can be taught and measured. It is
   never cut between photos that look alike, nor between the neighbours of one missing number.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from savo_datasets.errors import DatasetError
from savo_datasets.look_alikes import RULE, LookAlikeRule
from savo_datasets.sessions import Photo, SessionLink, session_links

__all__ = [
    "GROUPS_FILE",
    "SUBJECTS_FILE",
    "Grouping",
    "Groups",
    "group_photos",
    "read_groups",
    "read_groups_if_any",
    "write_groups",
    "write_subjects",
]

GROUPS_FILE = "groups.csv"
"""File of a prepared data set with name, split, group and session of each photo."""
SUBJECTS_FILE = "subjects.csv"
"""File of an input folder with name and group of each photo."""

_PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class Grouping:
    """Parameters of grouping."""

    session_gap: int = 20
    """Largest gap between camera numbers of one session; 0 turns sessions off."""
    look_alikes: LookAlikeRule | None = RULE
    """Which photos look alike; None turns this off."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, from a table."""


@dataclass(frozen=True)
class Groups:
    """The group and the session of each photo, in the order of the photos.

    A session that is not cut is one group. A cut session consists of several groups.
    """

    groups: list[str]
    sessions: list[str]


def group_photos(
    photos: Sequence[Photo], grouping: Grouping, classes: Sequence[Collection[int]] = (), splits: int = 0
) -> Groups:
    """Groups of photos that stay in one split.

    `classes`: class ids of each photo. `splits`: number of splits that should have each class. A session is cut only
    for a class in fewer groups; without `classes` none is cut.
    """
    forest = _Forest(len(photos))
    for link in sorted(_links(photos, grouping), key=lambda link: link.width):
        forest.join(link)
    sessions = forest.labels()
    for photos_of_class in _by_class(classes):
        forest.cut_for(photos_of_class, splits)
    names = _unique_names([grouping.named.get(photo.name) or photo.name for photo in photos])
    return Groups([names[label] for label in forest.labels()], [names[label] for label in sessions])


def read_groups(path: Path) -> dict[str, str]:
    """Group by photo name, from a CSV file with the columns `name` and `group`.

    Raises `DatasetError` when there is no such file, and when it is not text or lacks a column.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist: give a CSV with the columns name,group")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"name", "group"} <= set(rows.fieldnames or ()):
                raise DatasetError(f"{path} needs a first row with the column names: name,group")
            return {_stem(row["name"] or ""): row["group"] for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no text: give a CSV with the columns name,group") from error


def read_groups_if_any(path: Path) -> dict[str, str]:
    """Like `read_groups`; empty when there is no such file."""
    return read_groups(path) if path.exists() else {}


def write_groups(path: Path, names: Sequence[str], splits: Sequence[str], groups: Groups) -> None:
    """Write a CSV file with the columns `name`, `split`, `group` and `session`, sorted by name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "split", "group", "session"])
        rows.writerows(sorted(zip(names, splits, groups.groups, groups.sessions, strict=True)))


def write_subjects(path: Path, groups: Iterable[tuple[str, str]]) -> None:
    """Write a CSV file with the columns `name` and `group`, which `read_groups` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "group"])
        rows.writerows(groups)


def _links(photos: Sequence[Photo], grouping: Grouping) -> Iterator[SessionLink]:
    """All links between photos of one session or group. Width 0: the photos must stay together."""
    first_of: dict[str, int] = {}
    unnamed = []
    for index, photo in enumerate(photos):
        if group := grouping.named.get(photo.name):
            yield SessionLink(first_of.setdefault(group, index), index, 0.0)
        else:
            unnamed.append(index)
    yield from session_links(photos, unnamed, grouping.session_gap)
    if grouping.look_alikes is not None:
        for first, second in grouping.look_alikes.links([photo.signature for photo in photos]):
            yield SessionLink(first, second, 0.0)


def _by_class(classes: Sequence[Collection[int]]) -> list[list[int]]:
    """Indices of the photos of each class, the class with the fewest photos first."""
    photos: dict[int, list[int]] = {}
    for index, found in enumerate(classes):
        for class_id in found:
            photos.setdefault(class_id, []).append(index)
    return sorted(photos.values(), key=lambda indices: (len(indices), indices))


def _unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number where a name occurs twice."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}~{seen[name]}")
    return unique


class _Forest:
    """Photos joined by the narrowest links that connect them (Kruskal's minimum spanning forest).

    Joined in order of width, each tree holds the links at which it can be divided: removing a link separates the photos
    on both sides, and every other connection between them is at least as wide.
    """

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._links: list[dict[int, float]] = [{} for _ in range(count)]

    def join(self, link: SessionLink) -> None:
        one, other = self._root(link.first), self._root(link.second)
        if one == other:
            return
        low, high = sorted((one, other))
        self._parent[high] = low
        self._links[link.first][link.second] = self._links[link.second][link.first] = link.width

    def labels(self) -> list[int]:
        """The lowest index of each photo's tree."""
        labels = [-1] * len(self._links)
        for index in range(len(labels)):
            if labels[index] < 0:
                for member, _ in self._walk(index):
                    labels[member] = index
        return labels

    def cut_for(self, members: Sequence[int], count: int) -> None:
        """Cut trees, at the widest link first, until the members are in `count` trees or no link separates them."""
        trees = self._trees_with(members, count)
        while len(trees) < count:
            widest = max((link for tree in trees for link in self._separating(tree)), default=None)
            if widest is None:
                return
            _, one, other = widest
            del self._links[one][other], self._links[other][one]
            trees = self._trees_with(members, count)

    def _trees_with(self, members: Sequence[int], count: int) -> list[list[int]]:
        """Members by tree; at most `count` trees."""
        wanted = set(members)
        trees: list[list[int]] = []
        while wanted and len(trees) < count:
            found = [index for index, _ in self._walk(min(wanted)) if index in wanted]
            wanted.difference_update(found)
            trees.append(found)
        return trees

    def _separating(self, members: Sequence[int]) -> Iterator[tuple[float, int, int]]:
        """Links of the members' tree that can be cut and have members on both sides: width and both ends."""
        wanted = set(members)
        walk = list(self._walk(members[0]))
        below = {index: int(index in wanted) for index, _ in walk}
        for index, parent in reversed(walk):
            if parent is None:
                continue
            below[parent] += below[index]
            if self._links[index][parent] > 0 and 0 < below[index] < len(wanted):
                yield self._links[index][parent], index, parent

    def _walk(self, start: int) -> Iterator[tuple[int, int | None]]:
        """Each photo of a tree with its predecessor, breadth first."""
        queue: deque[tuple[int, int | None]] = deque([(start, None)])
        while queue:
            index, parent = queue.popleft()
            yield index, parent
            queue.extend((neighbour, index) for neighbour in self._links[index] if neighbour != parent)

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index


def _stem(name: str) -> str:
    """The name without the suffix of a photo file. Other suffixes are part of the name."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _PHOTO_SUFFIXES else name
