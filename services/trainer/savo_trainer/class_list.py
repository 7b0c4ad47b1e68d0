"""The classes of a model from elsewhere in samples/classes.json, where ids are given once and for ever.

An ingredient of the catalogue that no sample has shown yet gets its id now, as its first sample would give it: the list grows at its end by
conditional PUT, whoever writes it. Any other word is no class: it would be one by a typo.
"""

from __future__ import annotations

from collections.abc import Sequence

from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass
from savo_contracts.ingredients import CATALOGUE, normalise
from savo_runtime.errors import RetryableError
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore
from savo_trainer.errors import ClassesUnknownError

__all__ = ["check_classes", "class_ids", "read_classes_list"]

_ATTEMPTS = 20


async def class_ids(labels: Sequence[str], store: ObjectStore) -> tuple[int, ...]:
    """Id of each label. Raises `ClassesUnknownError`."""
    for _ in range(_ATTEMPTS):
        classes, etag = await read_classes_list(store)
        check_classes(labels, classes)
        ids = {entry.label: entry.id for entry in classes.classes}
        if all(label in ids for label in labels):
            return tuple(ids[label] for label in labels)
        try:
            await store.replace(CLASSES_KEY, _grown(classes, labels).model_dump_json(indent=1).encode(), expected_etag=etag, media_type="application/json")
        except ObjectConflictError:
            continue  # somebody else gave an id meanwhile
    raise RetryableError(f"{CLASSES_KEY} changed {_ATTEMPTS} times while classes were added", reason="classes-busy")


async def read_classes_list(store: ObjectStore) -> tuple[ClassList, str | None]:
    """With its etag; an empty one without, before the first class."""
    try:
        data, info = await store.read(CLASSES_KEY)
    except ObjectNotFoundError:
        return ClassList(), None
    return ClassList.model_validate_json(data), info.etag


def check_classes(labels: Sequence[str], classes: ClassList) -> None:
    """Raises `ClassesUnknownError`, naming them."""
    by_label = {entry.label: entry for entry in classes.classes}
    if unknown := [label for label in labels if label not in by_label and label not in CATALOGUE]:
        raise ClassesUnknownError(f"the model names classes that neither {CLASSES_KEY} nor the catalogue holds: {', '.join(map(_with_hint, unknown))}")
    if merged := [label for label in labels if label in by_label and by_label[label].redirects_to is not None]:
        raise ClassesUnknownError(f"the model names classes that were merged into others in {CLASSES_KEY}: {', '.join(merged)}")


def _grown(classes: ClassList, labels: Sequence[str]) -> ClassList:
    known = {entry.label for entry in classes.classes}
    first = max((entry.id for entry in classes.classes), default=-1) + 1
    new = [label for label in labels if label not in known]
    return ClassList(classes=(*classes.classes, *(IngredientClass(id=first + place, label=label) for place, label in enumerate(new))))


def _with_hint(label: str) -> str:
    try:
        name = normalise(label)
    except ValueError:
        return repr(label)
    return f"{label} ({name.label} here)" if name.known and name.label != label else label
