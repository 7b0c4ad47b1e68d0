"""Translation of S3's and R2's errors into the port's errors. Source: R2's table of error codes."""

from __future__ import annotations

import errno

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as BotoConnectionError

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.storage.port import ObjectNotFoundError, StorageFullError

DEPENDENCY = "object-store"

_TRANSIENT_STATUS = {408, 409, 429}
_TRANSIENT_CODES = {"IncompleteBody", "RequestTimeout", "SlowDown", "TooManyRequests"}
_FULL_CODES = {"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded"}
_TRANSPORT = (
    HTTPClientError,
    BotoConnectionError,
    IncompleteReadError,
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
)


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 where the error has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_transient(error: Exception) -> bool:
    """Whether a retry of the same request may succeed."""
    if isinstance(error, ClientError):
        status = status_of(error)
        is_server_error = status >= 500 and status not in (501, 507)
        return _code(error) in _TRANSIENT_CODES or status in _TRANSIENT_STATUS or is_server_error
    return isinstance(error, _TRANSPORT)


def translated_error(error: Exception, key: str, bucket: str) -> Exception | None:
    """The port's error; None for a failed condition (412), which the caller handles, and for unknown errors."""
    if is_transient(error):
        return DependencyDownError(DEPENDENCY, str(error))
    if isinstance(error, ClientError):
        return _refusal(error, key, bucket)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFullError(f"no room for a download: {error.strerror}")
    return FatalError(f"the object store cannot be used: {error}") if isinstance(error, BotoCoreError) else None


def _refusal(error: ClientError, key: str, bucket: str) -> Exception | None:
    status, code = status_of(error), _code(error)
    if code == "NoSuchBucket" or (status == 404 and not key):
        return FatalError(
            f"R2_BUCKET_NAME={bucket!r}: there is no such bucket; python -m savo_runtime.prepare creates it"
        )
    if status == 404:
        return ObjectNotFoundError(key)
    if status in (401, 403):
        return FatalError(
            f"the object store refuses R2_ACCESS_KEY_ID or R2_SECRET_ACCESS_KEY for bucket {bucket!r}: {code}"
        )
    if status == 507 or code in _FULL_CODES:
        return StorageFullError(f"the object store has no room: {code}")
    return FatalError(f"the object store does not support this request: {code}") if status == 501 else None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
