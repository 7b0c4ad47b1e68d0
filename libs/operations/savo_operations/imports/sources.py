"""Sources of an import: a folder, a tar, a zip, or any of them in an S3 bucket, as a folder on disk.

What is downloaded stays when the import is interrupted, and the next one does not fetch it again unless it changed.
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
from savo_operations.imports.bucket_cache import BucketCache
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectInfo, ObjectNotFoundError, ObjectStore

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
    cache = BucketCache(work / hashlib.sha256(source.encode()).hexdigest()[:16])
    path = await _downloaded(source, cache)
    with _named_after(source, path), _unpacked(path, work) as unpacked:
        yield unpacked
    await asyncio.to_thread(shutil.rmtree, cache.folder, ignore_errors=True)


@contextmanager
def _named_after(source: str, path: Path) -> Iterator[None]:
    """Errors of a data set that is read at `path` name its address."""
    address = source.rstrip("/")
    try:
        yield
    except DatasetError as error:
        steps = [step.replace(str(path), address) for step in error.next_steps]
        raise DatasetError(str(error).replace(str(path), address), steps) from error


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
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=work) as folder, _named_after(str(path), Path(folder)):
        yield unpack(path, Path(folder))


async def _downloaded(source: str, cache: BucketCache) -> Path:
    """The objects of a bucket in the cache: one archive, or all files under a prefix."""
    bucket, _, prefix = source.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise DatasetError("s3:// names no bucket: give s3://BUCKET or s3://BUCKET/PREFIX")
    store = open_store(load_settings(RuntimeSettings, r2_bucket_name=bucket))
    try:
        await store.check()
        is_archive = prefix.endswith(_ARCHIVES)
        objects = await (_archive(store, prefix) if is_archive else _objects(store, prefix.rstrip("/")))
        if not objects:
            raise DatasetError(f"there is no object at {source}: check the address of the source")
        await cache.update(store, objects)
    except ObjectNotFoundError as error:
        raise DatasetError(
            f"{_SCHEME}{bucket}/{error.key} was removed meanwhile; run the same command again"
        ) from error
    finally:
        await store.close()
    return cache.files / next(iter(objects)) if is_archive else cache.files


async def _archive(store: ObjectStore, key: str) -> dict[str, ObjectInfo]:
    info = await store.head(key)
    return {PurePosixPath(key).name: info} if info else {}


async def _objects(store: ObjectStore, prefix: str) -> dict[str, ObjectInfo]:
    """The objects under the prefix, by their paths after it."""
    folder = f"{prefix}/" if prefix else ""
    return {
        info.key.removeprefix(folder): info
        async for info in store.list(folder)
        if ".." not in info.key.split("/") and not info.key.endswith("/")
    }
