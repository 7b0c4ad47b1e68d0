"""The owner's app as a client: requests byte for byte as the package `http` of Dart sends them.

A multipart body has its fields before its files, part headers in lower case, and `content-type` before
`content-disposition`. Source: package:http, `multipart_request.dart` and `io_client.dart`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

__all__ = ["DartClient", "multipart"]

BOUNDARY = "dart-http-boundary-l3sZ9W2_Gk.x8vH0mTq4B+nR7yPcJ1eA5uFdXoKiLwMCbSaQr6V"
SECONDS = 60.0


def multipart(photo: bytes, fields: Mapping[str, str], filename: str, media_type: str) -> tuple[str, bytes]:
    """Content type and body of a `MultipartRequest` with the file part `image`."""
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    header = (
        f"--{BOUNDARY}\r\ncontent-type: {media_type}\r\n"
        f'content-disposition: form-data; name="image"; filename="{filename}"\r\n\r\n'
    )
    body = b"".join([*parts, header.encode(), photo, f"\r\n--{BOUNDARY}--\r\n".encode()])
    return f"multipart/form-data; boundary={BOUNDARY}", body


@dataclass(frozen=True)
class DartClient:
    """Sends one request a connection."""

    url: str
    token: str | None = None

    def get(self, path: str) -> tuple[int, Any]:
        return self._send("GET", path, None, b"")

    def post_json(self, path: str, document: Any, method: str = "POST") -> tuple[int, Any]:
        body = json.dumps(document, separators=(",", ":")).encode()
        return self._send(method, path, "application/json; charset=utf-8", body)

    def post_photo(
        self,
        path: str,
        photo: bytes,
        fields: Mapping[str, str],
        *,
        filename: str = "scan.jpg",
        media_type: str = "image/jpeg",
    ) -> tuple[int, Any]:
        return self._send("POST", path, *multipart(photo, fields, filename, media_type))

    def _send(self, method: str, path: str, content_type: str | None, body: bytes) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        address = urlsplit(self.url)
        headers = ["user-agent: Dart/3.5 (dart:io)"]
        if content_type:
            headers.append(f"content-type: {content_type}")
        headers.append("accept-encoding: gzip")
        if self.token:
            headers.append(f"authorization: Bearer {self.token}")
        headers += [f"content-length: {len(body)}", f"host: {address.netloc}"]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""])
        with socket.create_connection((address.hostname or "", address.port or 80), SECONDS) as connection:
            connection.sendall(head.encode() + body)
            response = HTTPResponse(connection, method=method)
            response.begin()
            content = response.read()
        return response.status, json.loads(content)
