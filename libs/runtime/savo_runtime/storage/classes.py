"""samples/classes.json: every class has its id for ever, whichever service gave it.

The list grows at its end only, by compare-and-swap, so that two writers never give one id twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_runtime.errors import RetryableError
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore

__all__ = ["grow_class_list", "read_class_list"]

_ATTEMPTS = 20


async def read_class_list(store: ObjectStore) -> tuple[ClassList, str | None]:
    """With its etag; an empty one without, before the first class."""
    try:
        data, info = await store.read(CLASSES_KEY)
    except ObjectNotFoundError:
        return ClassList(), None
    return ClassList.model_validate_json(data), info.etag


async def grow_class_list(
    store: ObjectStore, labels: Sequence[str], check: Callable[[ClassList], None] = lambda _: None
) -> ClassList:
    """The list once every label has its id. `check` is asked of each list that it would grow from, and may raise.

    Raises `RetryableError` when others kept changing it.
    """
    for _ in range(_ATTEMPTS):
        classes, etag = await read_class_list(store)
        check(classes)
        grown = classes.extended_by(labels)
        if grown == classes:
            return classes
        try:
            await store.replace(
                CLASSES_KEY, grown.model_dump_json(indent=1).encode(), expected_etag=etag, media_type="application/json"
            )
        except ObjectConflictError:
            continue  # somebody else grew the list: their classes come first
        return grown
    raise RetryableError(f"{CLASSES_KEY} changed {_ATTEMPTS} times while a class was added", reason="classes-busy")
