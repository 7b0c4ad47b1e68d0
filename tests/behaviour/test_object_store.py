"""One suite for every object store: memory, folder, S3 on moto, S3 on versitygw."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from savo_runtime.errors import FatalError
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, ObjectStore
from savo_runtime.storage.s3 import PART_BYTES, S3Store
from savo_runtime.testing import MemoryStore
from tests.parts.s3 import S3Server

STORES = [
    "memory",
    "folder",
    pytest.param("moto", marks=pytest.mark.s3),
    pytest.param("versitygw", marks=[pytest.mark.s3, pytest.mark.real]),
]


def s3_store(server: S3Server, **changes: Any) -> S3Store:
    arguments: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "bucket": server.bucket,
        "access_key_id": server.access_key_id,
        "secret_access_key": server.secret_access_key,
        "region": "us-east-1",
    }
    return S3Store(**{**arguments, **changes})


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    made: ObjectStore
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "folder":
        made = FolderStore(tmp_path / "objects")
    else:
        made = s3_store(request.getfixturevalue(f"{request.param}_s3"))
    yield made
    await made.close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """The servers outlive a test, so each test has keys of its own."""
    return f"test/{abs(hash(request.node.nodeid)):x}"


async def test_what_is_put_is_read_back(store: ObjectStore, prefix: str) -> None:
    info = await store.put(f"{prefix}/a.jpg", b"photo", media_type="image/jpeg")
    assert (info.key, info.size) == (f"{prefix}/a.jpg", 5)
    assert await store.get(f"{prefix}/a.jpg") == b"photo"
    assert await store.head(f"{prefix}/a.jpg") == info
    assert await store.read(f"{prefix}/a.jpg") == (b"photo", info)


async def test_an_empty_object_is_an_object(store: ObjectStore, prefix: str) -> None:
    await store.put(f"{prefix}/empty", b"")
    assert await store.get(f"{prefix}/empty") == b""


async def test_a_second_put_wins_and_changes_the_etag(store: ObjectStore, prefix: str) -> None:
    first = await store.put(f"{prefix}/a", b"one")
    second = await store.put(f"{prefix}/a", b"two")
    assert first.etag != second.etag
    assert await store.get(f"{prefix}/a") == b"two"


async def test_the_same_content_has_the_same_etag(store: ObjectStore, prefix: str) -> None:
    assert (await store.put(f"{prefix}/a", b"same")).etag == (await store.put(f"{prefix}/b", b"same")).etag


async def test_what_is_missing_is_said_to_be_missing(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    key = f"{prefix}/missing"
    assert await store.head(key) is None
    with pytest.raises(ObjectNotFoundError):
        await store.get(key)
    with pytest.raises(ObjectNotFoundError):
        await store.read(key)
    with pytest.raises(ObjectNotFoundError):
        await store.download(key, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


async def test_deleting_twice_is_no_error(store: ObjectStore, prefix: str) -> None:
    await store.put(f"{prefix}/a", b"x")
    await store.delete(f"{prefix}/a")
    await store.delete(f"{prefix}/a")
    assert await store.head(f"{prefix}/a") is None


async def test_put_if_absent_writes_only_once(store: ObjectStore, prefix: str) -> None:
    assert await store.put_if_absent(f"{prefix}/a", b"one")
    assert not await store.put_if_absent(f"{prefix}/a", b"two")
    assert await store.get(f"{prefix}/a") == b"one"


async def test_of_fifty_that_put_if_absent_at_once_exactly_one_wins(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}/raced"
    won = await asyncio.gather(*(store.put_if_absent(key, b"%d" % number) for number in range(50)))
    assert won.count(True) == 1
    assert await store.get(key) == b"%d" % won.index(True)


async def test_replace_wants_the_etag_that_was_read(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}/registry.json"
    first = await store.replace(key, b"1", expected_etag=None)
    second = await store.replace(key, b"2", expected_etag=first.etag)
    with pytest.raises(ObjectConflictError):
        await store.replace(key, b"3", expected_etag=first.etag)
    with pytest.raises(ObjectConflictError):
        await store.replace(key, b"3", expected_etag=None)
    assert await store.read(key) == (b"2", second)


async def test_replace_of_what_was_deleted_is_a_conflict(store: ObjectStore, prefix: str) -> None:
    first = await store.put(f"{prefix}/gone", b"1")
    await store.delete(f"{prefix}/gone")
    with pytest.raises(ObjectConflictError):
        await store.replace(f"{prefix}/gone", b"2", expected_etag=first.etag)


async def test_concurrent_replacing_loses_no_update(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}/list.json"
    await store.put(key, b"[]")

    async def append(name: int) -> None:
        while True:
            data, info = await store.read(key)
            try:
                await store.replace(key, json.dumps([*json.loads(data), name]).encode(), expected_etag=info.etag)
            except ObjectConflictError:
                continue
            return

    await asyncio.gather(*(append(name) for name in range(8)))
    assert sorted(json.loads(await store.get(key))) == list(range(8))


async def test_files_are_streamed_in_and_out(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    small = tmp_path / "small.bin"
    small.write_bytes(b"weights")
    info = await store.upload(f"{prefix}/small", small)
    assert info.size == 7
    assert await store.head(f"{prefix}/small") == info
    assert (await store.download(f"{prefix}/small", tmp_path / "deep" / "out")).size == 7
    assert (tmp_path / "deep" / "out").read_bytes() == b"weights"


async def test_a_file_of_several_parts_arrives_whole(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(range(256)) * (PART_BYTES // 128) + b"tail")
    info = await store.upload(f"{prefix}/large", large)
    assert info.size == 2 * PART_BYTES + 4
    await store.download(f"{prefix}/large", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()
    assert await store.head(f"{prefix}/large") == info


async def test_a_failed_upload_leaves_what_was_there(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    await store.put(f"{prefix}/kept", b"old")
    with pytest.raises(Exception, match="nowhere"):
        await store.upload(f"{prefix}/kept", tmp_path / "nowhere")
    assert await store.get(f"{prefix}/kept") == b"old"


async def test_listing_goes_in_key_order_and_keeps_to_the_prefix(store: ObjectStore, prefix: str) -> None:
    for name in ("b", "a/2", "a/1", "a-x", "ab", "ä"):
        await store.put(f"{prefix}/{name}", name.encode())
    await store.put(f"{prefix}-other/c", b"x")
    assert [info.key for info in [info async for info in store.list(f"{prefix}/a")]] == [
        f"{prefix}/{name}" for name in ("a-x", "a/1", "a/2", "ab")
    ]
    every = [info async for info in store.list(f"{prefix}/")]
    assert [info.key for info in every] == sorted((info.key for info in every), key=str.encode)
    assert every[0] == await store.head(every[0].key)
    assert len(every) == 6


async def test_listing_nothing_is_empty(store: ObjectStore, prefix: str) -> None:
    assert [info async for info in store.list(f"{prefix}/none/")] == []


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "a/../../b", "..", "a//b", "a/", "a\\b", "a\nb", "x" * 1025, f"a/{'y' * 300}", ".savo/new/x"],
)
async def test_a_key_that_climbs_or_is_malformed_is_refused(store: ObjectStore, key: str, tmp_path: Path) -> None:
    for attempt in (
        store.put(key, b""),
        store.put_if_absent(key, b""),
        store.get(key),
        store.head(key),
        store.delete(key),
        store.download(key, tmp_path / "x"),
    ):
        with pytest.raises(ValueError, match="key"):
            await attempt


async def test_check_passes_on_a_store_that_works(store: ObjectStore) -> None:
    await store.check()


@pytest.mark.s3
async def test_more_than_a_page_is_listed(moto_s3: S3Server, prefix: str) -> None:
    store = s3_store(moto_s3, page_size=3)
    keys = [f"{prefix}/{number}" for number in range(7)]
    for key in keys:
        await store.put(key, b"x")
    assert [info.key async for info in store.list(prefix)] == keys
    await store.close()


@pytest.mark.s3
async def test_a_missing_bucket_stops_the_start_and_is_named(moto_s3: S3Server) -> None:
    store = s3_store(moto_s3, bucket="no-such-bucket")
    with pytest.raises(FatalError, match="R2_BUCKET_NAME='no-such-bucket'"):
        await store.check()
    await store.close()


@pytest.mark.s3
@pytest.mark.parametrize("server", ["moto", pytest.param("versitygw", marks=pytest.mark.real)])
async def test_a_missing_bucket_is_made_once(request: pytest.FixtureRequest, server: str) -> None:
    store = s3_store(request.getfixturevalue(f"{server}_s3"), bucket=f"made-{secrets.token_hex(4)}")
    assert [await store.ensure_bucket(), await store.ensure_bucket()] == [True, False]
    await store.check()
    await store.close()
