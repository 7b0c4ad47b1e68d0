"""Folder store: behaviour beyond that of all stores, such as the limit, crashes and shared folders."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from savo_runtime.errors import DependencyDownError
from savo_runtime.storage import folder
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectConflictError, StorageFullError
from savo_runtime.telemetry.metrics import STORAGE_USED


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.fixture
def files_of_at_most_64_kib() -> Iterator[None]:
    """The kernel refuses to write more than 64 KiB into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(store_folder: Path) -> list[Path]:
    return [path for path in store_folder.rglob("*") if path.is_file() and "locks" not in path.parts]


@pytest.mark.usefixtures("files_of_at_most_64_kib")
async def test_a_full_disk_leaves_no_partial_object_and_keeps_the_old_one(store: FolderStore, tmp_path: Path) -> None:
    await store.put("a/kept", b"old")
    for attempt in (
        store.put("a/kept", bytes(1 << 17)),
        store.put_if_absent("a/new", bytes(1 << 17)),
        store.replace("a/new", bytes(1 << 17), expected_etag=None),
    ):
        with pytest.raises(StorageFullError, match="the disk is full"):
            await attempt
    assert files(tmp_path) == [tmp_path / "objects" / "a" / "kept"]
    assert await store.get("a/kept") == b"old"


async def test_the_limit_is_enforced_and_deleting_frees_space(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects", limit_bytes=1000)
    await store.put("a", bytes(600))
    with pytest.raises(
        StorageFullError, match="SAVO_STORAGE_LIMIT_GB is reached: 600 of 1,000 bytes are used, 500 more are needed"
    ):
        await store.put("b", bytes(500))
    await store.delete("a")
    await store.put("b", bytes(500))
    assert (await store.head("b")) is not None


async def test_existing_objects_count_towards_the_limit(tmp_path: Path) -> None:
    await FolderStore(tmp_path).put("a", bytes(600))
    with pytest.raises(StorageFullError):
        await FolderStore(tmp_path, limit_bytes=1000).put("b", bytes(500))


async def test_stores_that_share_a_folder_share_its_limit_and_its_usage(tmp_path: Path) -> None:
    first, second = FolderStore(tmp_path, limit_bytes=1000), FolderStore(tmp_path, limit_bytes=1000)
    for number, store in enumerate((first, second, first, second, first)):
        await store.put(f"a/{number}", bytes(200))
    for store in (first, second):
        with pytest.raises(StorageFullError, match="1,000 of 1,000 bytes are used"):
            await store.put("b", b"x")
    await first.delete("a/0")
    await first.check()
    assert STORAGE_USED.labels("folder")._value.get() == 800
    await second.put("b", bytes(200))


async def test_replaced_and_refused_objects_do_not_count(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, limit_bytes=1000)
    for _ in range(9):
        await store.put("a", bytes(400))
        assert await store.put_if_absent("a", bytes(400)) is False
    _, info = await store.read("a")
    with pytest.raises(ObjectConflictError):
        await store.replace("a", bytes(300), expected_etag="another")
    await store.replace("a", bytes(500), expected_etag=info.etag)
    await store.check()
    assert STORAGE_USED.labels("folder")._value.get() == 500


async def test_the_folder_is_not_listed_for_each_write_even_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings, count = [], folder._bytes_under

    def counted(root: Path) -> int:
        listings.append(root)
        return count(root)

    monkeypatch.setattr(folder, "_bytes_under", counted)
    store = FolderStore(tmp_path, limit_bytes=1000)
    for number in range(20):
        with contextlib.suppress(StorageFullError):
            await store.put(f"a/{number}", bytes(100))
    assert len(listings) == 1


async def test_a_corrupt_count_is_recounted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, limit_bytes=1000)
    await store.put("a", bytes(600))
    (tmp_path / ".savo" / "used").write_bytes(b"")
    with pytest.raises(StorageFullError, match="600 of 1,000 bytes are used"):
        await store.put("b", bytes(500))


async def test_a_folder_that_cannot_be_created_is_a_dependency_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file in the way")
    store = FolderStore(tmp_path / "objects")
    with pytest.raises(DependencyDownError, match="object-store is down"):
        await store.check()
    with pytest.raises(DependencyDownError, match="object-store is down"):
        await store.put("a", b"x")


async def test_temporary_files_of_a_crash_are_removed_after_a_day(tmp_path: Path) -> None:
    await FolderStore(tmp_path).put("a", b"x")
    old, young = tmp_path / ".savo" / "new" / "1-old", tmp_path / ".savo" / "new" / "1-young"
    for leftover in (old, young):
        leftover.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    await FolderStore(tmp_path).check()
    assert (old.exists(), young.exists()) == (False, True)


async def test_files_of_the_store_itself_are_never_listed(store: FolderStore) -> None:
    await store.put("a", b"x")
    assert [info.key async for info in store.list("")] == ["a"]


RACE = """
import asyncio, json, sys
from pathlib import Path
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectConflictError

async def main():
    store, won = FolderStore(Path(sys.argv[1])), 0
    for number in range(40):
        won += await store.put_if_absent(f"once/{number}", sys.argv[2].encode())
    for number in range(40):
        while True:
            data, info = await store.read("list")
            try:
                await store.replace("list", json.dumps([*json.loads(data), number]).encode(), expected_etag=info.etag)
                break
            except ObjectConflictError:
                continue
    print(won)

asyncio.run(main())
"""


async def test_processes_that_share_the_folder_lose_no_update(store: FolderStore, tmp_path: Path) -> None:
    await store.put("list", b"[]")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path / "objects"), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    won = [int((await asyncio.to_thread(racer.communicate, timeout=120))[0]) for racer in racers]
    assert sum(won) == 40
    assert len((await store.get("list")).split(b",")) == 80
