"""Ingredient class list in the object store (samples/classes.json): maps each class to an id that never changes.

Services append to the list by compare-and-swap, so that two writers cannot assign the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_runtime.errors import RetryableError
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore

__all__ = ["extend_class_list", "read_class_list"]

_ATTEMPTS = 20


async def read_class_list(store: ObjectStore) -> tuple[ClassList, str | None]:
    """The class list and its etag; an empty list and None before the first class."""
    try:
        data, info = await store.read(CLASSES_KEY)
    except ObjectNotFoundError:
        return ClassList(), None
    return ClassList.model_validate_json(data), info.etag


async def extend_class_list(
    store: ObjectStore, labels: Sequence[str], check: Callable[[ClassList], None] = lambda _: None
) -> ClassList:
    """Append the missing labels; returns the list with an id for every label.

    `check` is called with the current list before it is changed, and may raise. Raises `RetryableError` when other
    writers changed the list during every attempt.
    """
    for _ in range(_ATTEMPTS):
        classes, etag = await read_class_list(store)
        check(classes)
        grown = classes.extend(labels)
        if grown == classes:
            return classes
        try:
            await store.replace(
                CLASSES_KEY, grown.model_dump_json(indent=1).encode(), expected_etag=etag, media_type="application/json"
            )
        except ObjectConflictError:
            continue  # another writer changed the list: append to its version
        return grown
    raise RetryableError(
        f"{CLASSES_KEY} was changed by other writers in all {_ATTEMPTS} attempts to add a class; try again",
        reason="classes-busy",
    )
