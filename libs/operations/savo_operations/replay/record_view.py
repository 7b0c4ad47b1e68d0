"""A record for a person's eyes or for a program: its event where it is one, else its bytes with the reason."""

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
    """`event` (None for a tombstone), or `error` with the body as `text`, or as `base64` where it is no text."""
    if is_tombstone(topic, record):
        return {"event": None}
    try:
        decode(topic, record)
    except InvalidMessageError as flaw:
        return {"error": f"{flaw.reason}: {' '.join(str(flaw).split())}", **_raw(record.value)}
    return {"event": pydantic_core.from_json(record.value or b"null")}


def hexdump(data: bytes, most: int = 1024) -> str:
    """Offset, bytes, and what of them can be read."""
    lines = [_line(at, data[at : at + _WIDTH]) for at in range(0, min(len(data), most), _WIDTH)]
    return "\n".join([*lines, *([f"… {len(data) - most} bytes more"] if len(data) > most else [])]) or "(no bytes)"


def _line(at: int, row: bytes) -> str:
    return (
        f"{at:08x}  {row.hex(' '):{3 * _WIDTH - 1}}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in row)}"
    )


def _raw(value: bytes | None) -> dict[str, Any]:
    try:
        return {"text": None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}
