"""Class registry: gives ingredient names their class ids in `samples/classes.json`.

A name of the catalogue becomes a class at its first use. Any other name is a candidate: it gets an id once enough
people confirmed it, or when an engineer adds it to the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from savo_collector.ports import SampleDatabase, UnknownLabelCounts
from savo_contracts.documents import ClassList, IngredientClass
from savo_contracts.ingredients import NormalisedName, normalise
from savo_contracts.scans import Action, ScanConfirmed
from savo_runtime.storage.class_list import extend_class_list, read_class_list
from savo_runtime.storage.port import ObjectStore

__all__ = ["ClassPolicy", "ClassRegistry", "class_of", "have_classes"]


@dataclass(frozen=True)
class ClassPolicy:
    """How often a candidate must be confirmed before it becomes a class."""

    users: int = 5
    samples: int = 30

    def admits(self, counts: UnknownLabelCounts) -> bool:
        return counts.users >= self.users and counts.samples >= self.samples


@dataclass(frozen=True)
class ClassRegistry:
    """Looks up class ids, and adds classes to the list by compare-and-swap."""

    store: ObjectStore
    database: SampleDatabase
    policy: ClassPolicy = ClassPolicy()

    async def classes_for(self, confirmed: ScanConfirmed, names: Iterable[str]) -> dict[str, IngredientClass]:
        """The class of each name, new classes included. A name without a class is recorded and left out."""
        labels = {name: label for name in names if (label := _normalised(name))}
        known, _ = await read_class_list(self.store)
        missing = {label.label: label.known for label in labels.values() if class_of(known, label.label) is None}
        wanted = [label for label in sorted(missing) if missing[label] or await self._qualifies(confirmed, label)]
        classes = await extend_class_list(self.store, wanted) if wanted else known
        found = {name: class_of(classes, label.label) for name, label in labels.items()}
        return {name: entry for name, entry in found.items() if entry is not None}

    async def _qualifies(self, confirmed: ScanConfirmed, label: str) -> bool:
        subject = None if confirmed.anonymous else confirmed.subject
        async with self.database.transaction() as transaction:
            counts = await transaction.record_unknown_label(label, confirmed.scan_id, subject)
        return self.policy.admits(counts)


def _normalised(name: str) -> NormalisedName | None:
    try:
        return normalise(name)
    except ValueError:  # "123" has no letters, so it can never be a class
        return None


def have_classes(confirmed: ScanConfirmed, classes: ClassList) -> bool:
    """Whether every item that is in the photo has a class."""
    labels = {_normalised(item.label) for item in confirmed.items if item.action is not Action.REMOVED}
    return all(label is not None and class_of(classes, label.label) is not None for label in labels)


def class_of(classes: ClassList, label: str) -> IngredientClass | None:
    """The class with this label, or the class that it was merged into."""
    entry = next((entry for entry in classes.classes if entry.label == label), None)
    while entry is not None and entry.redirects_to is not None:
        entry = classes.classes[entry.redirects_to]
    return entry
