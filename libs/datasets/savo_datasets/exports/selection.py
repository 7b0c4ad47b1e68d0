"""Selection of the samples of an export, and the names of the members from which a download continues."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from savo_contracts.documents import ClassList, SampleMeta
from savo_datasets.formats.writing import Format

__all__ = ["DOCUMENTS", "END", "MemberName", "Selection", "labels_by_id"]

DOCUMENTS, END = "documents", "end"
"""Positions of the members after the photos."""

_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"(\d{{8}}T\d{{6}}Z)-([0-9a-f]{{8}})-([0-9a-f]{{64}}|{DOCUMENTS}|{END})")


@dataclass(frozen=True)
class Selection:
    """Which samples are exported, and in which format. An empty filter selects all.

    A sample needs one box that is both of the `labels` and from the `box_sources`; its label file is never changed.
    """

    labels: frozenset[str] = frozenset()
    box_sources: frozenset[str] = frozenset()
    splits: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    """Samples first stored before it."""
    version: str | None = None
    """Only samples of this data set version, with their labels of today."""
    form: Format = Format.YOLO

    def matches(self, meta: SampleMeta, labels: Mapping[int, str]) -> bool:
        """`labels`: see `labels_by_id`. The dates are the index's to apply."""
        if self.splits and meta.split.value not in self.splits:
            return False
        if not self.labels and not self.box_sources:
            return True
        return any(
            (not self.labels or labels.get(box.class_id, box.label) in self.labels)
            and (not self.box_sources or box.box_source in self.box_sources)
            for box in meta.boxes
        )

    def filters(self) -> dict[str, list[str]]:
        """The values of each filter that is set."""
        dates = {"since": self.since, "until": self.until}
        chosen = {"class": self.labels, "box_source": self.box_sources, "split": self.splits}
        chosen["version"] = frozenset(filter(None, [self.version]))
        return {name: sorted(values) for name, values in chosen.items() if values} | {
            name: [date.isoformat()] for name, date in dates.items() if date
        }

    def digest(self) -> str:
        """Eight hex digits that tell selections apart."""
        return hashlib.sha256(json.dumps([self.form.value, self.filters()], sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class MemberName:
    """Name of a member: when its export began, the selection, and the first sample that it may hold."""

    began_at: datetime
    """To the second."""
    selection: str
    position: str
    """sha256, or `DOCUMENTS` or `END`, which are after all."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Raises `ValueError`."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name[:120]!r} is not the name of an export's member")
        began_at = datetime.strptime(found[1], _TIME).replace(tzinfo=UTC)
        return cls(began_at, found[2], found[3])

    def at(self, position: str) -> Self:
        """The name of another member of the same export."""
        return type(self)(self.began_at, self.selection, position)

    def covers(self, sha256: str) -> bool:
        """Whether the sample belongs to this member or to one after it."""
        return self.position not in (DOCUMENTS, END) and sha256 >= self.position

    def __str__(self) -> str:
        return f"{self.began_at:{_TIME}}-{self.selection}-{self.position}"


def labels_by_id(classes: ClassList) -> dict[int, str]:
    """The label of each class id; of a merged class, that of its replacement."""
    found = {entry.id: entry for entry in classes.classes}
    labels = {}
    for entry in classes.classes:
        target, passed = entry, {entry.id}
        while target.redirects_to in found and target.redirects_to not in passed:
            target = found[target.redirects_to]
            passed.add(target.id)
        labels[entry.id] = target.label
    return labels
