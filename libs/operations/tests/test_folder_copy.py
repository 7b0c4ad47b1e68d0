"""The copy of a folder in a bucket: what is uploaded, verified, removed and left as it is."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from savo_operations.folder_copy import CopyJournal, FolderCopy, FolderCopyReport, UnverifiedObjectError
from savo_runtime.errors import DependencyDownError
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError

CHAMPION = "models/ingredients/aliases/champion.json"


@dataclass
class Bucket:
    """A `CopyTarget` in memory. After `works_for` uploads it cannot be reached."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    works_for: int = 1_000_000
    damages: bool = False

    async def head(self, key: str) -> ObjectInfo | None:
        return ObjectInfo(key, len(self.objects[key]), etag(self.objects[key])) if key in self.objects else None

    async def upload(self, key: str, path: Path, *, media_type: str = "") -> ObjectInfo:
        if len(self.uploads) >= self.works_for:
            raise DependencyDownError("object-store", "no route to the bucket")
        self.uploads.append(key)
        self.objects[key] = b"damaged" if self.damages else path.read_bytes()
        return ObjectInfo(key, len(self.objects[key]), etag(self.objects[key]))

    async def sha256(self, key: str) -> str:
        if key not in self.objects:
            raise ObjectNotFoundError(key)
        return hashlib.sha256(self.objects[key]).hexdigest()

    async def delete(self, key: str) -> None:
        del self.objects[key]


def etag(data: bytes) -> str:
    return f"etag-{hashlib.sha256(data).hexdigest()[:8]}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "objects"
    for number in range(30):
        write(root, f"scans/{number:02x}/{number}.jpg", b"photo %d" % number)
    write(root, CHAMPION, b"v1")
    write(root, ".savo/used", b"the store's own file")
    return root


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def write(root: Path, key: str, data: bytes) -> None:
    (root / key).parent.mkdir(parents=True, exist_ok=True)
    fresh = root.parent / "fresh"
    fresh.write_bytes(data)
    fresh.replace(root / key)


def in_folder(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and ".savo" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


async def copy(root: Path, bucket: Bucket, journal: Path | None = None, **options: Any) -> FolderCopyReport:
    opened = CopyJournal(journal or root.parent / "journal.sqlite3")
    try:
        return await FolderCopy(root, bucket, opened, **options).run()
    finally:
        opened.close()


async def test_everything_but_the_stores_own_files_is_copied(root: Path, bucket: Bucket) -> None:
    report = await copy(root, bucket)
    assert bucket.objects == in_folder(root)
    assert (report.objects, report.verified, report.differing, report.passes) == (31, 31, 0, 2)


async def test_a_repeated_copy_uploads_only_what_is_new(root: Path, bucket: Bucket) -> None:
    await copy(root, bucket)
    write(root, "scans/ff/new.jpg", b"new")
    write(root, CHAMPION, b"v2")
    bucket.uploads.clear()
    assert (await copy(root, bucket)).objects == 2
    assert sorted(bucket.uploads) == [CHAMPION, "scans/ff/new.jpg"]
    assert bucket.objects == in_folder(root)


async def test_an_interrupted_copy_continues_where_it_stopped(root: Path, bucket: Bucket) -> None:
    bucket.works_for = 12
    with pytest.raises(DependencyDownError, match="no route"):
        await copy(root, bucket)
    bucket.works_for = 1_000_000
    report = await copy(root, bucket)
    assert len(bucket.uploads) == 31, "nothing is uploaded twice"
    assert report.objects == 31 - 12
    assert bucket.objects == in_folder(root)


async def test_what_is_written_during_the_copy_is_copied_too(root: Path, bucket: Bucket) -> None:
    late = iter(range(100, 103))

    class Growing(Bucket):
        async def upload(self, key: str, path: Path, *, media_type: str = "") -> ObjectInfo:
            if (number := next(late, None)) is not None:
                write(root, f"scans/{number}.jpg", b"late %d" % number)
                write(root, CHAMPION, b"v%d" % number)
            return await super().upload(key, path)

    growing = Growing()
    await copy(root, growing)
    assert growing.objects == in_folder(root)


async def test_an_object_that_arrives_damaged_is_an_error(root: Path) -> None:
    with pytest.raises(UnverifiedObjectError, match="does not have the same SHA-256 in the bucket after 3 uploads"):
        await copy(root, Bucket(damages=True))


async def test_what_is_erased_in_the_folder_is_removed_from_the_bucket(root: Path, bucket: Bucket) -> None:
    bucket.objects["other/file.txt"] = b"of somebody else"
    await copy(root, bucket)
    (root / "scans/03/3.jpg").unlink()
    report = await copy(root, bucket)
    assert report.removed == 1
    assert bucket.objects == in_folder(root) | {"other/file.txt": b"of somebody else"}


async def test_after_the_move_the_changes_of_the_product_in_the_bucket_stay(root: Path, bucket: Bucket) -> None:
    await copy(root, bucket)
    bucket.objects[CHAMPION] = b"v7"
    del bucket.objects["scans/03/3.jpg"]
    report = await copy(root, bucket)
    assert (report.objects, report.left_out, report.differing) == (0, 1, 0)
    assert bucket.objects[CHAMPION] == b"v7"
    assert "scans/03/3.jpg" not in bucket.objects, "an erased photo does not return"


async def test_both_sides_changed_is_reported_and_overwritten_only_on_request(root: Path, bucket: Bucket) -> None:
    await copy(root, bucket)
    bucket.objects[CHAMPION] = b"v7"
    write(root, CHAMPION, b"v2")
    report = await copy(root, bucket)
    assert (report.differing, report.kept_in_bucket) == (1, [CHAMPION])
    assert bucket.objects[CHAMPION] == b"v7"
    await copy(root, bucket, overwrites=True)
    assert bucket.objects == in_folder(root)


async def test_a_backup_copies_again_what_the_bucket_has_lost(root: Path, bucket: Bucket) -> None:
    await copy(root, bucket, copies_missing=True)
    bucket.objects.clear()
    report = await copy(root, bucket, copies_missing=True)
    assert (report.objects, report.left_out) == (31, 0)
    assert bucket.objects == in_folder(root)


async def test_without_room_for_the_journal_everything_is_copied_and_compared(root: Path, bucket: Bucket) -> None:
    impossible = Path("/proc/no/journal.sqlite3")
    assert not (await copy(root, bucket, impossible)).has_journal
    bucket.uploads.clear()
    report = await copy(root, bucket, impossible)
    assert (report.objects, report.verified, bucket.uploads) == (0, 31, [])


async def test_a_journal_that_a_full_disk_breaks_stops_no_copy(root: Path, bucket: Bucket) -> None:
    journal = CopyJournal(root.parent / "journal.sqlite3")
    journal._connection.execute("PRAGMA max_page_count = 2")  # type: ignore[union-attr]
    for number in range(200):
        write(root, f"scans/many/{number}.jpg", b"photo %d" % number)
    report = await FolderCopy(root, bucket, journal).run()
    journal.close()
    assert not report.has_journal
    assert await asyncio.to_thread(in_folder, root) == bucket.objects
