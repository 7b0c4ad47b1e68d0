"""S3 store: objects in a bucket of Cloudflare R2, or of any S3 server with conditional PUT.

R2 refuses the checksums that botocore sends by default, so botocore sends only those that S3 requires, and SHA-256 is
sent as a plain header. Objects are deleted one by one, because the bulk call always sends a CRC32. Source: R2's S3 API
pages (error codes, extensions, limits).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import aioboto3
import aiohttp
import stamina
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from savo_runtime.errors import DependencyDownError
from savo_runtime.storage.keys import valid_key
from savo_runtime.storage.port import ObjectConflictError, ObjectInfo, ObjectNotFoundError
from savo_runtime.storage.s3_errors import is_transient, status_of, translated_error

__all__ = ["PART_BYTES", "S3Store"]

PART_BYTES = 8 << 20
_MOST_PARTS = 10_000
_CHUNK = 1 << 20
_ATTEMPTS = 4
_TOKEN = "savo-write"  # noqa: S105 - the name of a metadata field

T = TypeVar("T")


class S3Store:
    """An `ObjectStore` in one bucket. The client is opened at first use and closed by `close()`.

    botocore's retries are off; transient errors are retried here, with jitter.
    """

    def __init__(
        self,
        *,
        endpoint_url: str,
        bucket: str,
        access_key_id: str,
        secret_access_key: str,
        region: str = "auto",
        page_size: int = 1000,
    ) -> None:
        self.bucket = bucket
        self._region = region
        self._page_size = page_size
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._opened: Any = None
        self._arguments = {
            "endpoint_url": endpoint_url,
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
            "region_name": region,
            "config": Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=20,
                max_pool_connections=50,
                s3={"addressing_style": "path"},
            ),
        }

    async def put(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        answer = await self._put(valid_key(key), data, ContentType=media_type)
        return ObjectInfo(key, len(data), answer["ETag"])

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool:
        return await self._put_if(valid_key(key), data, media_type, IfNoneMatch="*") is not None

    async def replace(
        self, key: str, data: bytes, *, expected_etag: str | None, media_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        condition = {"IfMatch": expected_etag} if expected_etag is not None else {"IfNoneMatch": "*"}
        etag = await self._put_if(valid_key(key), data, media_type, **condition)
        if etag is None:
            raise ObjectConflictError(key)
        return ObjectInfo(key, len(data), etag)

    async def get(self, key: str) -> bytes:
        return (await self.read(key))[0]

    async def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        valid_key(key)

        async def attempt(client: Any) -> tuple[bytes, ObjectInfo]:
            answer = await client.get_object(Bucket=self.bucket, Key=key)
            async with answer["Body"]:
                data = await answer["Body"].read()
            return data, ObjectInfo(key, len(data), answer["ETag"])

        return await self._call(attempt, key)

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            answer = await self._head(valid_key(key))
        except ObjectNotFoundError:
            return None
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"])

    async def upload(self, key: str, path: Path, *, media_type: str = "application/octet-stream") -> ObjectInfo:
        valid_key(key)
        size = (await asyncio.to_thread(path.stat)).st_size
        if size <= PART_BYTES:
            return await self.put(key, await asyncio.to_thread(path.read_bytes), media_type=media_type)
        file = await asyncio.to_thread(path.open, "rb")
        try:
            return ObjectInfo(key, size, await self._upload_parts(key, file, size, media_type))
        finally:
            file.close()

    async def download(self, key: str, path: Path) -> ObjectInfo:
        valid_key(key)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")

        async def attempt(client: Any) -> ObjectInfo:
            answer = await client.get_object(Bucket=self.bucket, Key=key)
            async with answer["Body"]:
                if answer["ContentLength"] <= _CHUNK:
                    size = await asyncio.to_thread(_write, fresh, await answer["Body"].read(), path)
                else:
                    size = await _write_stream(fresh, answer["Body"], path)
            return ObjectInfo(key, size, answer["ETag"])

        try:
            return await self._call(attempt, key)
        except BaseException:
            await asyncio.to_thread(fresh.unlink, missing_ok=True)
            raise

    async def sha256(self, key: str) -> str:
        """Read the object back, in chunks, and return the digest of its bytes. Raises `ObjectNotFoundError`."""
        valid_key(key)

        async def attempt(client: Any) -> str:
            answer = await client.get_object(Bucket=self.bucket, Key=key)
            digest = hashlib.sha256()
            async with answer["Body"]:
                while chunk := await answer["Body"].read(_CHUNK):
                    await asyncio.to_thread(digest.update, chunk)
            return digest.hexdigest()

        return await self._call(attempt, key)

    async def delete(self, key: str) -> None:
        valid_key(key)
        await self._call(lambda client: client.delete_object(Bucket=self.bucket, Key=key), key)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        query: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": self._page_size}
        more = True
        while more:
            page = await self._call(lambda client: client.list_objects_v2(**query), prefix)
            for found in page.get("Contents", ()):
                yield ObjectInfo(found["Key"], found["Size"], found["ETag"])
            more = page.get("IsTruncated", False)
            query["ContinuationToken"] = page.get("NextContinuationToken", "")

    async def check(self) -> None:
        await self._call(lambda client: client.head_bucket(Bucket=self.bucket), "", attempts=1)

    async def ensure_bucket(self) -> bool:
        """Create the bucket if it is missing; True when it was created. Raises what `check` raises."""

        async def attempt(client: Any) -> bool:
            try:
                await client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if status_of(error) != 404:
                    raise
                await client.create_bucket(Bucket=self.bucket, **_location(self._region))
                return True
            return False

        return await self._call(attempt, "")

    async def close(self) -> None:
        self._opened = None
        await self._stack.aclose()

    async def _put(self, key: str, data: bytes, **more: Any) -> Any:
        checksum = await _sha256(data)
        return await self._call(
            lambda client: client.put_object(Bucket=self.bucket, Key=key, Body=data, ChecksumSHA256=checksum, **more),
            key,
        )

    async def _put_if(self, key: str, data: bytes, media_type: str, **condition: str) -> str | None:
        """The new etag, or None when the condition failed.

        After a retry, the condition also fails when the first attempt succeeded and only its response was lost. The
        token in the object's metadata identifies that case.
        """
        token = secrets.token_hex(16)
        try:
            answer = await self._put(key, data, ContentType=media_type, Metadata={_TOKEN: token}, **condition)
        except ClientError as error:
            if status_of(error) != 412:
                raise
        except ObjectNotFoundError:  # no object has the expected etag
            return None
        else:
            return str(answer["ETag"])
        current = await self._head_or_none(key)
        return str(current["ETag"]) if current and current.get("Metadata", {}).get(_TOKEN) == token else None

    async def _head(self, key: str) -> Any:
        return await self._call(lambda client: client.head_object(Bucket=self.bucket, Key=key), key)

    async def _head_or_none(self, key: str) -> Any:
        try:
            return await self._head(key)
        except ObjectNotFoundError:
            return None

    async def _upload_parts(self, key: str, file: BinaryIO, size: int, media_type: str) -> str:
        target = {"Bucket": self.bucket, "Key": key}
        begun = await self._call(
            lambda client: client.create_multipart_upload(**target, ContentType=media_type, ChecksumAlgorithm="SHA256"),
            key,
        )
        upload = {**target, "UploadId": begun["UploadId"]}
        try:
            parts = [part async for part in self._parts(upload, file, _part_size(size))]
            done = await self._call(
                lambda client: client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}), key
            )
        except BaseException:
            await asyncio.shield(self._abort(upload))
            raise
        return str(done["ETag"])

    async def _parts(self, upload: dict[str, Any], file: BinaryIO, part_size: int) -> AsyncIterator[dict[str, Any]]:
        """Upload the parts. R2 requires the same size for all parts but the last."""
        number = 0
        while data := await asyncio.to_thread(file.read, part_size):
            number += 1
            checksum = await _sha256(data)
            answer = await self._call(
                partial(_upload_part, {**upload, "PartNumber": number, "Body": data, "ChecksumSHA256": checksum}),
                upload["Key"],
            )
            yield {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    async def _abort(self, upload: dict[str, Any]) -> None:
        try:
            await self._call(lambda client: client.abort_multipart_upload(**upload), upload["Key"], attempts=1)
        except (DependencyDownError, ObjectNotFoundError):
            return  # the store removes unfinished uploads itself (R2: after seven days)

    async def _call(self, attempt: Callable[[Any], Awaitable[T]], key: str, *, attempts: int = _ATTEMPTS) -> T:
        """Call `attempt` with bounded retries. Raises the port's errors; 412 and unknown errors stay `ClientError`."""
        try:
            async for retry in stamina.retry_context(
                on=is_transient, attempts=attempts, timeout=45.0, wait_initial=0.2, wait_max=2.0, wait_jitter=0.5
            ):
                with retry:
                    return await attempt(await self._client())
        except (ClientError, BotoCoreError, aiohttp.ClientError, TimeoutError, OSError) as error:
            translated = translated_error(error, key, self.bucket)
            if translated is None:
                raise
            raise translated from error
        raise AssertionError("retry_context made no attempt")

    async def _client(self) -> Any:
        async with self._opening:
            if self._opened is None:
                self._opened = await self._stack.enter_async_context(_session().client("s3", **self._arguments))
        return self._opened


def _location(region: str) -> dict[str, Any]:
    """Arguments of CreateBucket: S3 requires the region except for us-east-1; R2's `auto` is its default."""
    return {} if region in ("auto", "us-east-1") else {"CreateBucketConfiguration": {"LocationConstraint": region}}


@cache
def _session() -> Any:
    """One session for the process, since loading botocore's description of S3 takes a third of a second."""
    return aioboto3.Session()


async def _upload_part(arguments: dict[str, Any], client: Any) -> Any:
    return await client.upload_part(**arguments)


def _write(fresh: Path, data: bytes, path: Path) -> int:
    """Write `path` by way of `fresh`, in one call of a thread, which costs as much as a small file."""
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_bytes(data)
    fresh.replace(path)
    return len(data)


async def _write_stream(fresh: Path, body: Any, path: Path) -> int:
    size = 0
    await asyncio.to_thread(fresh.parent.mkdir, parents=True, exist_ok=True)
    file = await asyncio.to_thread(fresh.open, "wb")
    try:
        while chunk := await body.read(_CHUNK):
            await asyncio.to_thread(file.write, chunk)
            size += len(chunk)
    finally:
        await asyncio.to_thread(file.close)
    await asyncio.to_thread(fresh.replace, path)
    return size


async def _sha256(data: bytes) -> str:
    digest = hashlib.sha256(data) if len(data) < _CHUNK else await asyncio.to_thread(hashlib.sha256, data)
    return base64.b64encode(digest.digest()).decode()


def _part_size(size: int) -> int:
    """8 MiB, or the smallest whole number of MiB that keeps the number of parts within the limit."""
    return max(PART_BYTES, -(-size // _MOST_PARTS // _CHUNK) * _CHUNK)
