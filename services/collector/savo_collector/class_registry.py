"""Which words become classes: one of the catalogue when it is first used.

Any other word is a candidate: it is noted, and it gets an id once enough people confirmed it, or when an engineer gives it one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from savo_collector.ports import Ledger, Sightings
from savo_contracts.documents import ClassList, IngredientClass
from savo_contracts.ingredients import NormalisedName, normalise
from savo_contracts.scans import ScanConfirmed
from savo_runtime.storage.classes import grow_class_list, read_class_list
from savo_runtime.storage.port import ObjectStore

__all__ = ["ClassPolicy", "ClassRegistry", "class_of"]


@dataclass(frozen=True)
class ClassPolicy:
    users: int = 5
    samples: int = 30

    def admits(self, seen: Sightings) -> bool:
        return seen.users >= self.users and seen.samples >= self.samples


@dataclass(frozen=True)
class ClassRegistry:
    store: ObjectStore
    ledger: Ledger
    policy: ClassPolicy = ClassPolicy()

    async def classes_for(self, confirmed: ScanConfirmed, words: Iterable[str]) -> dict[str, IngredientClass]:
        """The class of each word that has one, or gets one now. Words without a class are noted and left out."""
        labels = {word: name for word in words if (name := _normalised(word))}
        known, _ = await read_class_list(self.store)
        missing = {name.label: name.known for name in labels.values() if class_of(known, name.label) is None}
        wanted = [label for label in sorted(missing) if missing[label] or await self._qualifies(confirmed, label)]
        classes = await grow_class_list(self.store, wanted) if wanted else known
        found = {word: class_of(classes, name.label) for word, name in labels.items()}
        return {word: entry for word, entry in found.items() if entry is not None}

    async def _qualifies(self, confirmed: ScanConfirmed, label: str) -> bool:
        async with self.ledger.transaction() as transaction:
            seen = await transaction.add_sighting(
                label, confirmed.scan_id, None if confirmed.anonymous else confirmed.subject
            )
        return self.policy.admits(seen)


def _normalised(word: str) -> NormalisedName | None:
    try:
        return normalise(word)
    except ValueError:  # "123" names nothing: it can never be a class
        return None


def class_of(classes: ClassList, label: str) -> IngredientClass | None:
    """By name, a merged class's redirect followed."""
    entry = next((entry for entry in classes.classes if entry.label == label), None)
    while entry is not None and entry.redirects_to is not None:
        entry = classes.classes[entry.redirects_to]
    return entry
