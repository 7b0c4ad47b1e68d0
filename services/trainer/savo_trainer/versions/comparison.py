"""Differences between two data set versions: samples, classes and boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from savo_contracts.documents import ClassList, ManifestLine
from savo_runtime.storage.port import ObjectStore
from savo_trainer.versions.catalogue import StoredVersion, fetch_version, stored_version, version_classes
from savo_trainer.versions.manifest import ManifestFile

__all__ = ["LineChange", "VersionDiff", "compare_versions"]

KINDS = ("added", "removed", "relabelled", "moved")


@dataclass(frozen=True)
class LineChange:
    """A sample that differs: `added`, `removed`, `relabelled`, or `moved` to another split with the same labels."""

    kind: str
    before: ManifestLine | None
    after: ManifestLine | None

    @property
    def sha256(self) -> str:
        line = self.after or self.before
        assert line is not None, "a change has a side"
        return line.sha256


@dataclass
class VersionDiff:
    """What changed from one version to another."""

    before: StoredVersion
    after: StoredVersion
    classes: tuple[ClassList, ClassList]
    same: int = 0
    """Samples without a change."""
    changes: list[LineChange] = field(default_factory=list)

    def names(self, kind: str) -> list[str]:
        """sha256 of the samples with this kind of change."""
        return [change.sha256 for change in self.changes if change.kind == kind]

    def as_dict(self) -> dict[str, Any]:
        boxes = [version.description.boxes if version.description else {} for version in (self.before, self.after)]
        changed = [name for name in boxes[0] | boxes[1] if boxes[0].get(name, 0) != boxes[1].get(name, 0)]
        return {
            "before": self.before.name,
            "after": self.after.name,
            "models": {"before": list(self.before.models), "after": list(self.after.models)},
            "counts": {"same": self.same} | {kind: len(self.names(kind)) for kind in KINDS},
            "samples": {kind: self.names(kind) for kind in KINDS},
            "classes": self._class_changes(),
            "boxes": {name: [boxes[0].get(name, 0), boxes[1].get(name, 0)] for name in changed},
        }

    def _class_changes(self) -> dict[str, Any]:
        before, after = ({entry.id: entry for entry in classes.classes} for classes in self.classes)
        added = [entry.label for class_id, entry in after.items() if class_id not in before]
        merged = {
            entry.label: after[entry.redirects_to].label
            for class_id, entry in after.items()
            if entry.redirects_to is not None
            and entry.redirects_to in after
            and (class_id not in before or before[class_id].redirects_to != entry.redirects_to)
        }
        return {"added": added, "merged": merged}


async def compare_versions(before: str, after: str, store: ObjectStore, folder: Path) -> VersionDiff:
    """Compare two versions line by line. `folder` receives their manifests. Raises `UnknownVersionError`."""
    versions = [await stored_version(name, store) for name in (before, after)]
    manifests = [await fetch_version(name, store, folder / name) for name in (before, after)]
    classes = [ClassList.model_validate_json(await version_classes(name, store)) for name in (before, after)]
    diff = VersionDiff(versions[0], versions[1], (classes[0], classes[1]))
    for old, new in _paired(manifests[0], manifests[1]):
        if kind := _kind(old, new):
            diff.changes.append(LineChange(kind, old, new))
        else:
            diff.same += 1
    return diff


def _kind(before: ManifestLine | None, after: ManifestLine | None) -> str | None:
    if before is None or after is None:
        return "added" if before is None else "removed"
    if before.labels_sha256 != after.labels_sha256:
        return "relabelled"
    return "moved" if before.split != after.split else None


def _paired(before: ManifestFile, after: ManifestFile) -> Iterator[tuple[ManifestLine | None, ManifestLine | None]]:
    """Lines of the same sample, or a line and None. Both manifests are ordered by sha256."""
    olds, news = iter(before), iter(after)
    old, new = next(olds, None), next(news, None)
    while old or new:
        if new is None or (old is not None and old.sha256 < new.sha256):
            yield old, None
            old = next(olds, None)
        elif old is None or new.sha256 < old.sha256:
            yield None, new
            new = next(news, None)
        else:
            yield old, new
            old, new = next(olds, None), next(news, None)
