"""S3 store: its requests and the translation of errors, with a scripted server that can return any error."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.storage.port import ObjectConflictError, ObjectNotFoundError, StorageFullError
from savo_runtime.storage.s3 import S3Store
from tests.parts.addresses import free_port

Answer = tuple[int, str, dict[str, str]]
"""Status, S3's error code or "", headers."""
TRANSIENT: list[Answer | None] = [
    (500, "InternalError", {}),
    (503, "SlowDown", {}),
    (429, "TooManyRequests", {}),
    (400, "IncompleteBody", {}),
    (409, "ConditionalRequestConflict", {}),
    None,
]
OK: Answer = (200, "", {"ETag": '"e1"'})


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedS3:
    """Returns the scripted answers in order, then OK. `None` closes the connection without an answer."""

    port: int
    answers: list[Answer | Callable[[Request], Answer] | None] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader, writer)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else OK
        if answer is not None:
            writer.write(_response(answer(request) if callable(answer) else answer, request.method))
            await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def _response(answer: Answer, method: str) -> bytes:
    status, code, headers = answer
    body = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        if code and method != "HEAD"
        else b""
    )
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
async def server() -> AsyncIterator[ScriptedS3]:
    scripted = ScriptedS3(free_port())
    listening = await asyncio.start_server(scripted.handle, "127.0.0.1", scripted.port)
    yield scripted
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def store(server: ScriptedS3) -> AsyncIterator[S3Store]:
    opened = S3Store(
        endpoint_url=f"http://127.0.0.1:{server.port}", bucket="b", access_key_id="k", secret_access_key="s"
    )
    yield opened
    await opened.close()


async def test_a_put_has_a_sha256_and_none_of_the_checksums_that_r2_refuses(store: S3Store, server: ScriptedS3) -> None:
    await store.put("a/b.jpg", b"photo", media_type="image/jpeg")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("PUT", "/b/a/b.jpg", b"photo")
    assert request.headers["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(b"photo").digest()).decode()
    assert request.headers["content-type"] == "image/jpeg"
    assert "/auto/s3/" in request.headers["authorization"]
    assert not {"x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "x-amz-trailer", "content-encoding"} & set(
        request.headers
    )


async def test_conditions_are_sent_as_http_headers(store: S3Store, server: ScriptedS3) -> None:
    await store.put_if_absent("a", b"x")
    await store.replace("a", b"x", expected_etag=None)
    await store.replace("a", b"x", expected_etag='"e1"')
    conditions = [
        (request.headers.get("if-none-match"), request.headers.get("if-match")) for request in server.requests
    ]
    assert conditions == [("*", None), ("*", None), (None, '"e1"')]


async def test_deleting_is_one_plain_request(store: S3Store, server: ScriptedS3) -> None:
    server.answers = [(204, "", {})]
    await store.delete("a")
    assert [(request.method, request.path) for request in server.requests] == [("DELETE", "/b/a")]


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_transient_error_is_retried(store: S3Store, server: ScriptedS3, fault: Answer | None) -> None:
    server.answers = [fault]
    assert (await store.put("a", b"x")).etag == '"e1"'
    assert len(server.requests) == 2


async def test_a_persistent_error_is_a_dependency_that_is_down_after_four_attempts(
    store: S3Store, server: ScriptedS3
) -> None:
    server.answers = [(503, "ServiceUnavailable", {})] * 10
    with pytest.raises(DependencyDownError, match="object-store is down"):
        await store.get("a")
    assert len(server.requests) == 4


async def test_an_unreachable_server_is_a_dependency_that_is_down() -> None:
    store = S3Store(
        endpoint_url=f"http://127.0.0.1:{free_port()}", bucket="b", access_key_id="k", secret_access_key="s"
    )
    with pytest.raises(DependencyDownError, match="object-store is down"):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((403, "SignatureDoesNotMatch", {}), FatalError, "R2_SECRET_ACCESS_KEY for bucket 'b': SignatureDoesNotMatch"),
        ((401, "Unauthorized", {}), FatalError, "R2_ACCESS_KEY_ID"),
        ((404, "NoSuchBucket", {}), FatalError, "R2_BUCKET_NAME='b'"),
        ((501, "NotImplemented", {}), FatalError, "NotImplemented"),
        ((507, "InsufficientStorage", {}), StorageFullError, "no room"),
        ((404, "NoSuchKey", {}), ObjectNotFoundError, "no object 'a'"),
    ],
)
async def test_a_refusal_is_not_retried(
    store: S3Store, server: ScriptedS3, answer: Answer, error: type[Exception], message: str
) -> None:
    server.answers = [answer] * 4
    with pytest.raises(error, match=message):
        await store.get("a")
    assert len(server.requests) == 1


async def test_a_write_whose_response_was_lost_is_recognised(store: S3Store, server: ScriptedS3) -> None:
    def same_token(_request: Request) -> Answer:
        return (200, "", {"ETag": '"e1"', "x-amz-meta-savo-write": server.requests[0].headers["x-amz-meta-savo-write"]})

    server.answers = [None, (412, "PreconditionFailed", {}), same_token]
    assert await store.put_if_absent("a", b"x") is True
    server.answers = [
        None,
        (412, "PreconditionFailed", {}),
        (200, "", {"ETag": '"e1"', "x-amz-meta-savo-write": "anothers"}),
    ]
    assert await store.put_if_absent("a", b"x") is False


async def test_a_failed_condition_is_a_conflict(store: S3Store, server: ScriptedS3) -> None:
    server.answers = [(412, "PreconditionFailed", {}), OK, (404, "NoSuchKey", {})]
    for _ in range(2):
        with pytest.raises(ObjectConflictError):
            await store.replace("a", b"x", expected_etag='"e0"')


async def test_an_interrupted_download_leaves_no_file(store: S3Store, server: ScriptedS3, tmp_path: Path) -> None:
    server.answers = [(200, "", {"ETag": '"e1"', "Content-Length": "99"})] * 4
    with pytest.raises(DependencyDownError):
        await store.download("a", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 4
