"""Class ids of a submitted model, from samples/classes.json. Ids are permanent.

A catalogue ingredient without samples gets its id here, as its first sample would assign it. Any other unknown label is
refused, because it may be a typo.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_contracts.ingredients import CATALOGUE, normalise
from savo_runtime.storage.class_list import extend_class_list
from savo_runtime.storage.port import ObjectStore
from savo_trainer.errors import ClassesUnknownError

__all__ = ["check_classes", "class_ids"]


async def class_ids(labels: Sequence[str], store: ObjectStore) -> tuple[int, ...]:
    """Id of each label, in the order of `labels`. Raises `ClassesUnknownError`."""
    classes = await extend_class_list(store, labels, check=partial(check_classes, labels))
    ids = {entry.label: entry.id for entry in classes.classes}
    return tuple(ids[label] for label in labels)


def check_classes(labels: Sequence[str], classes: ClassList) -> None:
    """Raises `ClassesUnknownError` with the labels that are unknown or were merged into others."""
    by_label = {entry.label: entry for entry in classes.classes}
    if unknown := [label for label in labels if label not in by_label and label not in CATALOGUE]:
        named = ", ".join(map(_with_hint, unknown))
        raise ClassesUnknownError(f"the model has classes that neither {CLASSES_KEY} nor the catalogue holds: {named}")
    label_of = {entry.id: entry.label for entry in classes.classes}
    known = [by_label[label] for label in labels if label in by_label]
    merged = [
        f"{entry.label} (now {label_of.get(entry.redirects_to, entry.redirects_to)})"
        for entry in known
        if entry.redirects_to is not None
    ]
    if merged:
        raise ClassesUnknownError(
            f"the model has classes that were merged into others in {CLASSES_KEY}: {', '.join(merged)}"
        )


def _with_hint(label: str) -> str:
    try:
        name = normalise(label)
    except ValueError:
        return repr(label)
    return f"{label} ({name.label} here)" if name.known and name.label != label else label
