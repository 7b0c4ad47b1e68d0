"""Mapping of the append-only class ids in samples/classes.json to the consecutive outputs of a network.

Redirects of merged classes are followed. Only classes that occur become outputs, in order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_datasets.errors import DatasetError
from savo_datasets.labels import parse_labels

__all__ = ["ClassMap", "class_map", "map_labels", "resolve"]


@dataclass(frozen=True)
class ClassMap:
    """A network's outputs and their class ids."""

    names: tuple[str, ...]
    """Label of each output."""
    ids: tuple[int, ...]
    """Id in samples/classes.json of each output."""
    output_of_class_id: Mapping[int, int]
    """Output of each class id, including redirected ids."""


def class_map(occurring: Iterable[int], classes: ClassList) -> ClassMap:
    """Map the class ids that occur in a data set to outputs. Raises `DatasetError` like `resolve`."""
    resolved = {class_id: resolve(class_id, classes) for class_id in set(occurring)}
    ids = tuple(sorted(set(resolved.values())))
    label_of = {entry.id: entry.label for entry in classes.classes}
    output_of_class_id = {class_id: ids.index(target) for class_id, target in resolved.items()}
    return ClassMap(tuple(label_of[class_id] for class_id in ids), ids, output_of_class_id)


def resolve(class_id: int, classes: ClassList) -> int:
    """Follow a class id's redirects to their end. Raises `DatasetError` for an unknown id and for a cycle."""
    by_id = {entry.id: entry for entry in classes.classes}
    visited: set[int] = set()
    while class_id not in visited:
        visited.add(class_id)
        if class_id not in by_id:
            message = f"a label file has class id {class_id}, which {CLASSES_KEY} does not contain"
            next_step = "Restore samples/classes.json from a backup: classes are never removed from it."
            raise DatasetError(message, (next_step,))
        target = by_id[class_id].redirects_to
        if target is None:
            return class_id
        class_id = target
    message = f"the redirects in {CLASSES_KEY} form a cycle at class id {class_id}"
    raise DatasetError(message, ("Correct `redirects_to` of a class of the cycle in samples/classes.json.",))


def map_labels(text: str, mapping: ClassMap) -> str:
    """A stored label file with each class id replaced by the network's output."""
    return "".join(
        f"{mapping.output_of_class_id[label.class_id]} {' '.join(label.numbers)}\n" for label in parse_labels(text)
    )
