"""Copies of the object store's objects to a folder and back, by key.

An object that the target already holds in the same size is not copied again, so a repeated backup is short.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from savo_operations.backup.erased_objects import ErasedObjects
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError, ObjectStore

__all__ = ["CopyReport", "copy_from_store", "copy_to_store"]

MAX_CONCURRENT = 8

T = TypeVar("T")


@dataclass
class CopyReport:
    """Counts of a copy: `objects` and `bytes` copied now, `kept` already there, `left_out` because erased."""

    objects: int = 0
    bytes: int = 0
    kept: int = 0
    left_out: int = 0


async def copy_from_store(store: ObjectStore, folder: Path) -> CopyReport:
    """Makes `folder` an exact copy of the object store.

    Files without an object are deleted: a backup must not hold data longer than the product does.
    """
    copied, expected = CopyReport(), set()

    async def copy_object(info: ObjectInfo) -> None:
        path = folder / info.key
        expected.add(path)
        # JSON objects (aliases, the class list) change under the same key and are small: they are always copied.
        if path.exists() and path.stat().st_size == info.size and not info.key.endswith(".json"):
            copied.kept += 1
            return
        try:
            await store.download(info.key, path)
        except ObjectNotFoundError:  # erased since it was listed
            expected.discard(path)
            return
        copied.objects += 1
        copied.bytes += info.size

    await _for_each(store.list(""), copy_object)
    for path in _files(folder):
        if path not in expected:
            path.unlink()
    return copied


async def copy_to_store(store: ObjectStore, folder: Path, erased: ErasedObjects) -> CopyReport:
    """Copies every file of `folder` to its key, except erased ones. An object of the same size is kept."""
    copied = CopyReport()
    stored_sizes = {info.key: info.size async for info in store.list("")}

    async def copy_file(path: Path) -> None:
        key = path.relative_to(folder).as_posix()
        size = (await asyncio.to_thread(path.stat)).st_size
        if erased.contains(key):
            copied.left_out += 1
        elif stored_sizes.get(key) == size and not key.endswith(".json"):
            copied.kept += 1
        else:
            await store.upload(key, path)
            copied.objects += 1
            copied.bytes += size

    async def files() -> AsyncIterator[Path]:
        for path in _files(folder):
            yield path

    await _for_each(files(), copy_file)
    return copied


async def _for_each(items: AsyncIterator[T], action: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """Runs the action for every item, at most `MAX_CONCURRENT` at a time."""
    slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def run(item: T) -> None:
        try:
            await action(item)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        async for item in items:
            await slots.acquire()
            group.create_task(run(item))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
