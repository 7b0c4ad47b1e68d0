"""Sources in a bucket: a later import sees the bucket as it is, and fetches again only what changed."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from savo_datasets.errors import DatasetError
from savo_operations.imports import sources
from savo_operations.imports.sources import open_source
from savo_runtime.storage.port import ObjectInfo
from savo_runtime.testing import MemoryStore
from tests.parts.s3 import S3Server


class RefusedImportError(Exception):
    """The import ends before it is complete, so its downloads stay."""


class CountingStore(MemoryStore):
    """Remembers what was downloaded since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    async def download(self, key: str, path: Path) -> ObjectInfo:
        self.fetched.append(key)
        return await super().download(key, path)

    def take_fetched(self) -> list[str]:
        fetched, self.fetched = sorted(self.fetched), []
        return fetched


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    store = CountingStore()
    monkeypatch.setattr(sources, "open_store", lambda _settings: store)
    monkeypatch.setattr(sources, "load_settings", lambda *_, **__: None)
    return store


async def refused_import(source: str, data_dir: Path) -> dict[str, bytes]:
    """The files that an import reads before it is refused."""
    read: dict[str, bytes] = {}
    with suppress(RefusedImportError):
        async with open_source(source, data_dir) as unpacked:
            read = contents(unpacked.folder)
            raise RefusedImportError
    return read


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zip_with(classes: bytes) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        zipped.writestr("classes.txt", classes)
    return content.getvalue()


async def test_a_changed_file_is_fetched_again_and_a_removed_one_is_gone(bucket: CountingStore, tmp_path: Path) -> None:
    bucket.objects |= {"ds/classes.txt": b"egg", "ds/labels/a.txt": b"0 .5", "ds/old/b.txt": b"0 .7"}
    await refused_import("s3://photos/ds", tmp_path)
    assert len(bucket.take_fetched()) == 3
    bucket.objects["ds/labels/a.txt"] = b"1 .5"
    del bucket.objects["ds/old/b.txt"]
    assert await refused_import("s3://photos/ds", tmp_path) == {"classes.txt": b"egg", "labels/a.txt": b"1 .5"}
    assert bucket.take_fetched() == ["ds/labels/a.txt"]
    bucket.objects["ds/labels/a.txt"] = b"0 .5"
    async with open_source("s3://photos/ds/", tmp_path) as unpacked:
        assert contents(unpacked.folder)["labels/a.txt"] == b"0 .5"
        assert not (unpacked.folder / "old").exists()


async def test_an_interrupted_download_keeps_only_files_with_a_known_etag(
    bucket: CountingStore, tmp_path: Path
) -> None:
    bucket.objects |= {"ds/a.txt": b"a", "ds/b.txt": b"b"}
    await refused_import("s3://photos/ds", tmp_path)
    (record,) = tmp_path.rglob("etags.jsonl")
    record.write_bytes(record.read_bytes()[:-9])
    bucket.take_fetched()
    assert await refused_import("s3://photos/ds", tmp_path) == {"a.txt": b"a", "b.txt": b"b"}
    assert len(bucket.take_fetched()) == 1


async def test_a_repaired_archive_is_fetched_again(bucket: CountingStore, tmp_path: Path) -> None:
    bucket.objects["sets/ds.zip"] = b"damaged"
    with pytest.raises(DatasetError) as refused:
        async with open_source("s3://photos/sets/ds.zip", tmp_path):
            pass
    assert "s3://photos/sets/ds.zip cannot be unpacked" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    bucket.objects["sets/ds.zip"] = zip_with(b"egg")
    assert await refused_import("s3://photos/sets/ds.zip", tmp_path) == {"classes.txt": b"egg"}


@pytest.mark.parametrize("source", ["s3://photos/ds/", "s3://photos/ds.zip"])
async def test_an_error_names_the_address(bucket: CountingStore, tmp_path: Path, source: str) -> None:
    bucket.objects |= {"ds/classes.txt": b"egg", "ds.zip": zip_with(b"egg")}
    with pytest.raises(DatasetError, match=rf"^{source.rstrip('/')}/classes\.txt:1: no name$") as refused:
        async with open_source(source, tmp_path) as unpacked:
            raise DatasetError(f"{unpacked.folder / 'classes.txt'}:1: no name", (f"edit {unpacked.folder}",))
    assert refused.value.next_steps == (f"edit {source.rstrip('/')}",)
    for missing in ("s3://photos/other", "s3://photos/other.zip"):
        with pytest.raises(DatasetError, match=f"no object at {missing}"):
            async with open_source(missing, tmp_path):
                pass


@pytest.mark.s3
async def test_a_data_set_in_a_bucket_is_read_as_it_is(
    moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVO_S3_ENDPOINT_URL", moto_s3.endpoint_url)
    monkeypatch.setenv("SAVO_S3_REGION", "us-east-1")
    monkeypatch.setenv("R2_ACCESS_KEY_ID", moto_s3.access_key_id)
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", moto_s3.secret_access_key)
    client = moto_s3.client()
    for key, content in {"ds/classes.txt": b"egg", "ds/a.txt": b"0 .5", "ds.zip": zip_with(b"egg")}.items():
        client.put_object(Bucket=moto_s3.bucket, Key=f"import/{key}", Body=content)
    folder, archive = f"s3://{moto_s3.bucket}/import/ds", f"s3://{moto_s3.bucket}/import/ds.zip"
    assert await refused_import(folder, tmp_path) == {"classes.txt": b"egg", "a.txt": b"0 .5"}
    assert await refused_import(archive, tmp_path) == {"classes.txt": b"egg"}
    unchanged = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("classes.txt")}
    client.put_object(Bucket=moto_s3.bucket, Key="import/ds/a.txt", Body=b"1 .5")
    client.put_object(Bucket=moto_s3.bucket, Key="import/ds.zip", Body=zip_with(b"oat"))
    assert await refused_import(folder, tmp_path) == {"classes.txt": b"egg", "a.txt": b"1 .5"}
    assert await refused_import(archive, tmp_path) == {"classes.txt": b"oat"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("classes.txt")} == unchanged
    client.close()
