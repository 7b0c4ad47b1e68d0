"""Objects to files and back, by key. What is there in the same size is not copied again, so that the next backup is a short one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from savo_operations.backup.erasures import ErasedObjects
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError, ObjectStore

__all__ = ["CopyReport", "copy_from_store", "copy_to_store"]

AT_ONCE = 8

T = TypeVar("T")


@dataclass
class CopyReport:
    """`bytes` of what was copied now; `kept` were there; `left_out` were erased."""

    objects: int = 0
    bytes: int = 0
    kept: int = 0
    left_out: int = 0


async def copy_from_store(store: ObjectStore, folder: Path) -> CopyReport:
    """The whole bucket into `folder`. What the bucket has no more goes from the folder too: a backup keeps nothing longer than the product does."""
    copied, seen = CopyReport(), set()

    async def one(info: ObjectInfo) -> None:
        path = folder / info.key
        seen.add(path)
        # Aliases and the class list change under their key: the small ones are always read anew.
        if path.exists() and path.stat().st_size == info.size and not info.key.endswith(".json"):
            copied.kept += 1
            return
        try:
            await store.download(info.key, path)
        except ObjectNotFoundError:  # erased since it was listed
            seen.discard(path)
            return
        copied.objects += 1
        copied.bytes += info.size

    await _each(store.list(""), one)
    for path in _files(folder):
        if path not in seen:
            path.unlink()
    return copied


async def copy_to_store(store: ObjectStore, folder: Path, erased: ErasedObjects) -> CopyReport:
    """Every file of `folder` back under its key, except what was erased since. An object of the same size stays as it is."""
    copied = CopyReport()
    there = {info.key: info.size async for info in store.list("")}

    async def one(path: Path) -> None:
        key = path.relative_to(folder).as_posix()
        size = (await asyncio.to_thread(path.stat)).st_size
        if erased.contains(key):
            copied.left_out += 1
        elif there.get(key) == size and not key.endswith(".json"):
            copied.kept += 1
        else:
            await store.upload(key, path)
            copied.objects += 1
            copied.bytes += size

    async def files() -> AsyncIterator[Path]:
        for path in _files(folder):
            yield path

    await _each(files(), one)
    return copied


async def _each(things: AsyncIterator[T], act: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """At most eight at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def run(thing: T) -> None:
        try:
            await act(thing)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        async for thing in things:
            await room.acquire()
            group.create_task(run(thing))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
