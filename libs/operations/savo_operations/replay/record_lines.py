"""Formatting of records, one line each: text, coloured text, or JSON.

A line contains the body as it was received: no event is parsed and serialized again. Validation against the contract
takes twice as long as reading, so it is done only with `checked`. A record with the header of another type, or whose
body is no JSON object on one line, is always validated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord
from pydantic import ValidationError

from savo_contracts.envelope import CONTENT_TYPE, REPLAY_HEADER
from savo_contracts.topics import Topic
from savo_operations.replay.record_view import body_of
from savo_runtime.errors import InvalidMessageError
from savo_runtime.messaging.consuming.records import decode, is_tombstone

__all__ = ["RecordLines"]

_FAMILIES = {"scans": 36, "samples": 32, "training": 35, "models": 35, "rollout": 33, "recipes": 34, "audit": 33}
_DIM, _RED, _WHITE = 2, 31, 37
_OPEN, _CLOSE = b"{}"
_TOPIC_WIDTH, _LOCATION_WIDTH = 28, 10
_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class RecordLines:
    """Formats records of `topics`, by their name on Kafka. A dead-letter topic maps to the topic of its records."""

    topics: Mapping[str, Topic[Any]]
    dead_letters: frozenset[str] = frozenset()
    as_json: bool = False
    coloured: bool = False
    raw: bool = False
    """Key and body are printed as received, without any check: the fastest form."""
    checked: bool = False
    """Every event is validated against its contract; an invalid one is printed with the reason."""

    def format(self, records: Iterable[ConsumerRecord]) -> list[str]:
        """The records' lines, in their order."""
        line_of = self._raw if self.raw else self._json if self.as_json else self._text
        return [line_of(record) for record in records]

    def _raw(self, record: ConsumerRecord) -> str:
        key, body = record.key or b"", record.value
        text = "" if body is None else body.decode(errors="backslashreplace")
        return f"{record.topic} {record.partition}/{record.offset} {key.decode(errors='backslashreplace')}\t{text}"

    def _json(self, record: ConsumerRecord) -> str:
        topic = self.topics[record.topic]
        key = json.dumps((record.key or b"").decode(errors="replace"), ensure_ascii=False)
        start = f'{{"topic": "{record.topic}", "partition": {record.partition}, "offset": {record.offset}, "key": {key}'
        if record.topic in self.dead_letters:
            start += f', "dead_letter": {json.dumps(_reasons(record), ensure_ascii=False)}'
        if is_tombstone(topic, record):
            return start + ', "event": null}'
        try:
            self._check(topic, record)
            event = _one_line(record.value)
        except InvalidMessageError:
            return f"{start}, {json.dumps(body_of(topic, record), ensure_ascii=False)[1:]}"
        return f'{start}{_identity(record)}, "event": {event}}}'

    def _text(self, record: ConsumerRecord) -> str:
        return self._fast_text(record) or self._full_text(record)

    def _fast_text(self, record: ConsumerRecord) -> str | None:
        """The line of a plain event, the most frequent case. None if the record needs colours, a check, or a reason."""
        plain = self._plain_topics.get(record.topic)
        if plain is None or not _has_plain_body(plain[0], record):
            return None
        try:
            location = f"{record.partition}/{record.offset}"
            return f"{_clock(record.timestamp)}{plain[1]} {location:{_LOCATION_WIDTH}}{record.value.decode()}"
        except UnicodeDecodeError:
            return None

    @cached_property
    def _plain_topics(self) -> dict[str, tuple[tuple[str, bytes], str]]:
        """Topics whose events need no colour and no check: the type header of their events, and the padded name."""
        if self.coloured or self.checked:
            return {}
        return {
            name: (_type_header(topic), name.ljust(_TOPIC_WIDTH))
            for name, topic in self.topics.items()
            if name not in self.dead_letters
        }

    def _full_text(self, record: ConsumerRecord) -> str:
        topic = self.topics[record.topic]
        start = self._paint(_DIM, _clock(record.timestamp))
        start += self._paint(self._colour(record.topic), record.topic.ljust(_TOPIC_WIDTH))
        start += self._paint(_DIM, f" {record.partition}/{record.offset}".ljust(_LOCATION_WIDTH) + " ")
        if record.topic in self.dead_letters:
            start += self._paint(_RED, _short_reason(record) + " ")
        if is_tombstone(topic, record):
            return start + self._paint(_DIM, (record.key or b"").decode(errors="replace") + " erased")
        try:
            self._check(topic, record)
            return start + (_summary(record.value) if self.coloured else _one_line(record.value))
        except InvalidMessageError as error:
            raw = repr(record.value[:300])[1:] if record.value else ""
            return start + self._paint(_RED, f"{error.reason}: {' '.join(str(error).split())[:200]}") + " " + raw

    def _check(self, topic: Topic[Any], record: ConsumerRecord) -> None:
        """Raises `InvalidMessageError`."""
        if self.checked or not _has_plain_body(_type_header(topic), record) or not _is_json(record.value):
            _validate(topic, record)

    def _paint(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured else text

    def _colour(self, name: str) -> int:
        return _RED if name in self.dead_letters else _FAMILIES.get(self.topics[name].name.partition(".")[0], _WHITE)


def _has_plain_body(type_header: tuple[str, bytes], record: ConsumerRecord) -> bool:
    """Whether the record has the type header, and its body seems to be a JSON object on one line."""
    body = record.value
    return (
        bool(body) and body[0] == _OPEN and body[-1] == _CLOSE and type_header in record.headers and b"\n" not in body
    )


def _type_header(topic: Topic[Any]) -> tuple[str, bytes]:
    return "ce_type", topic.event.type.encode()


def _is_json(body: bytes | None) -> bool:
    try:
        pydantic_core.from_json(body or b"")
    except ValueError:
        return False
    return True


def _validate(topic: Topic[Any], record: ConsumerRecord) -> None:
    """Raises `InvalidMessageError` as `decode` does. A record with the usual headers takes a faster path."""
    if not _has_usual_headers(topic, record):
        decode(topic, record)
        return
    try:
        topic.event.__pydantic_validator__.validate_json(record.value)
    except ValidationError:
        decode(topic, record)


def _has_usual_headers(topic: Topic[Any], record: ConsumerRecord) -> bool:
    """Whether the headers are as our own publisher writes them."""
    headers = dict(record.headers)
    return bool(
        headers.get("ce_type") == topic.event.type.encode()
        and headers.get("content-type") == CONTENT_TYPE
        and _ID.fullmatch(headers.get("ce_id") or b"")
        and _TIME.fullmatch(headers.get("ce_time") or b"")
        and None not in headers.values()
        and b"".join(headers.values()).isascii()
    )


def _identity(record: ConsumerRecord) -> str:
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    replay = f', "replay": {json.dumps(headers[REPLAY_HEADER])}' if REPLAY_HEADER in headers else ""
    return f', "id": {json.dumps(headers.get("ce_id"))}, "time": {json.dumps(headers.get("ce_time"))}{replay}'


@lru_cache(maxsize=4096)
def _clock(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%H:%M:%S}.{milliseconds % 1000:03} "


def _one_line(body: bytes | None) -> str:
    """The JSON body on one line."""
    if body is None:
        return "null"
    return pydantic_core.to_json(pydantic_core.from_json(body)).decode() if b"\n" in body else body.decode()


def _summary(body: bytes | None) -> str:
    """The body without null fields, and with the hash alone of an image."""
    event = pydantic_core.from_json(body or b"{}")
    fields = {name: value for name, value in event.items() if value is not None}
    if "image" in fields:
        fields["image"] = fields["image"]["sha256"][:12]
    return pydantic_core.to_json(fields).decode()


def _reasons(record: ConsumerRecord) -> dict[str, str]:
    return {
        name.removeprefix("dlq_"): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith("dlq_")
    }


def _short_reason(record: ConsumerRecord) -> str:
    reasons = _reasons(record)
    message = " ".join(reasons.get("error_message", "").split())
    return f"{reasons.get('reason') or reasons.get('error_type', '?')}: {message[:120]}"
