"""Readable forms of a record's body: the event as JSON, or the reason and the raw bytes."""

from __future__ import annotations

import base64
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord

from savo_contracts.topics import Topic
from savo_runtime.errors import InvalidMessageError
from savo_runtime.messaging.consuming.records import decode, is_tombstone

__all__ = ["body_of", "hexdump"]

_WIDTH = 16


def body_of(topic: Topic[Any], record: ConsumerRecord) -> dict[str, Any]:
    """`event` (None for a tombstone), or `error` with the body as `text`, or as `base64` if it is no text."""
    if is_tombstone(topic, record):
        return {"event": None}
    try:
        decode(topic, record)
    except InvalidMessageError as error:
        return {"error": f"{error.reason}: {' '.join(str(error).split())}", **_raw(record.value)}
    return {"event": pydantic_core.from_json(record.value or b"null")}


def hexdump(data: bytes, limit: int = 1024) -> str:
    """The first `limit` bytes, 16 a line: offset, hexadecimal bytes, printable characters."""
    lines = [_line(at, data[at : at + _WIDTH]) for at in range(0, min(len(data), limit), _WIDTH)]
    if len(data) > limit:
        lines.append(f"… {len(data) - limit} bytes more")
    return "\n".join(lines) or "(no bytes)"


def _line(at: int, row: bytes) -> str:
    printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
    return f"{at:08x}  {row.hex(' '):{3 * _WIDTH - 1}}  {printable}"


def _raw(value: bytes | None) -> dict[str, Any]:
    try:
        return {"text": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}
