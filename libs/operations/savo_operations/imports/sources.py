"""Sources of an import: a folder, a tar, a zip, or any of them in an S3 bucket, as a folder on disk.

What is downloaded stays when the import is interrupted, and the next one does not fetch it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath

from savo_datasets.archives import Unpacked, unpack
from savo_datasets.errors import DatasetError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectInfo, ObjectStore

__all__ = ["open_source"]

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_SCHEME = "s3://"


@asynccontextmanager
async def open_source(source: str, data_dir: Path) -> AsyncIterator[Unpacked]:
    """The folder of a source. `data_dir`: has the space for what is unpacked and downloaded.

    Raises `DatasetError`, and the store's errors for a bucket.
    """
    work = data_dir / "imports"
    if not source.startswith(_SCHEME):
        with _unpacked(Path(source), work) as unpacked:
            yield unpacked
        return
    cache = work / hashlib.sha256(source.encode()).hexdigest()[:16]
    with _unpacked(await _downloaded(source, cache), work) as unpacked:
        yield unpacked
    await asyncio.to_thread(shutil.rmtree, cache, ignore_errors=True)


@contextmanager
def _unpacked(path: Path, work: Path) -> Iterator[Unpacked]:
    if not path.exists():
        raise DatasetError(f"{path} does not exist: give a folder, a tar, a zip or s3://BUCKET/PREFIX")
    if (path / "samples" / "classes.json").exists():
        next_step = "Export them where they were collected: savo export --output training_data.tar.gz"
        raise DatasetError(f"{path} holds the samples of a product, not a data set", (next_step,))
    if path.is_dir():
        yield Unpacked(path)
        return
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=work) as folder:
        yield unpack(path, Path(folder))


async def _downloaded(source: str, cache: Path) -> Path:
    """The objects of a bucket under `cache`: one archive, or all files under a prefix."""
    bucket, _, prefix = source.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise DatasetError("s3:// names no bucket: give s3://BUCKET or s3://BUCKET/PREFIX")
    store = open_store(load_settings(RuntimeSettings, r2_bucket_name=bucket))
    try:
        await store.check()
        if prefix.endswith(_ARCHIVES):
            path = cache / PurePosixPath(prefix).name
            await _fetch(store, prefix, None, path)
            return path
        folder = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        return await _download_folder(store, folder, cache)
    finally:
        await store.close()


async def _download_folder(store: ObjectStore, prefix: str, cache: Path) -> Path:
    async def fetch(info: ObjectInfo) -> None:
        if ".." not in info.key.split("/") and not info.key.endswith("/"):
            await _fetch(store, info.key, info.size, cache / info.key.removeprefix(prefix))

    async for _ in map_limited(store.list(prefix), fetch):
        pass
    if not await asyncio.to_thread(cache.exists):
        raise DatasetError(f"there is no object under {prefix or 'the bucket'}: check the address of the source")
    return cache


async def _fetch(store: ObjectStore, key: str, size: int | None, path: Path) -> None:
    """Download an object, unless an earlier import did. A download appears complete or not at all."""
    if not await asyncio.to_thread(_is_downloaded, path, size):
        await store.download(key, path)


def _is_downloaded(path: Path, size: int | None) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.exists() and size in (None, path.stat().st_size)
