"""From the class ids of samples/classes.json, append-only for ever, to the dense outputs of a network.

Only classes that occur become outputs, redirects followed, in order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_datasets.errors import DatasetError
from savo_datasets.labels import parse_labels

__all__ = ["ClassMap", "class_map", "dense_labels", "resolve"]


@dataclass(frozen=True)
class ClassMap:
    names: tuple[str, ...]
    """Labels of the outputs."""
    ids: tuple[int, ...]
    """Id in samples/classes.json of each output."""
    dense: Mapping[int, int]
    """Output of each id, redirected ones included."""


def class_map(occurring: Iterable[int], classes: ClassList) -> ClassMap:
    """Raises `DatasetError` as `resolve` does."""
    resolved = {class_id: resolve(class_id, classes) for class_id in set(occurring)}
    ids = tuple(sorted(set(resolved.values())))
    label_of = {entry.id: entry.label for entry in classes.classes}
    dense = {class_id: ids.index(target) for class_id, target in resolved.items()}
    return ClassMap(tuple(label_of[class_id] for class_id in ids), ids, dense)


def resolve(class_id: int, classes: ClassList) -> int:
    """Follow redirects to the id that counts. Raises `DatasetError` for an unknown id or a circle."""
    by_id = {entry.id: entry for entry in classes.classes}
    seen: set[int] = set()
    while class_id not in seen:
        seen.add(class_id)
        if class_id not in by_id:
            message = f"a label file names class {class_id}, which {CLASSES_KEY} does not hold"
            raise DatasetError(message, ("Restore samples/classes.json: it may only grow.",))
        target = by_id[class_id].redirects_to
        if target is None:
            return class_id
        class_id = target
    message = f"redirects in {CLASSES_KEY} go in a circle at class {class_id}"
    raise DatasetError(message, ("Mend the redirect in samples/classes.json.",))


def dense_labels(text: str, mapping: ClassMap) -> str:
    """A stored label file with the network's outputs instead of class ids."""
    return "".join(f"{mapping.dense[label.class_id]} {' '.join(label.numbers)}\n" for label in parse_labels(text))
