"""One line a record, as fast as it can be said: coloured for eyes, or JSON for programs.

The body is passed on as it came: no event is taken apart and put together again. Holding each against its contract takes twice as long as
reading it, so that is done when it is asked for (`checked`); what carries another type's header, or is no JSON object by its looks, is said to be so always.
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
_TOPIC_WIDTH, _PLACE_WIDTH = 28, 10
_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class RecordLines:
    """`topics` by their name on Kafka; of a dead-letter topic it is the topic that its letters come from."""

    topics: Mapping[str, Topic[Any]]
    dead_letters: frozenset[str] = frozenset()
    as_json: bool = False
    coloured: bool = False
    raw: bool = False
    """Key and body as they came, whatever they are: for programs that check for themselves, and for much at a time."""
    checked: bool = False
    """Each event is held against its contract, and what does not fit is said with the reason."""

    def format(self, records: Iterable[ConsumerRecord]) -> list[str]:
        say = self._raw if self.raw else self._json if self.as_json else self._words
        return [say(record) for record in records]

    def _raw(self, record: ConsumerRecord) -> str:
        key, body = record.key or b"", record.value
        told = "" if body is None else body.decode(errors="backslashreplace")
        return f"{record.topic} {record.partition}/{record.offset} {key.decode(errors='backslashreplace')}\t{told}"

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
            told = _one_line(record.value)
        except InvalidMessageError:
            return f"{start}, {json.dumps(body_of(topic, record), ensure_ascii=False)[1:]}"
        return f'{start}{_identity(record)}, "event": {told}}}'

    def _words(self, record: ConsumerRecord) -> str:
        return self._at_a_glance(record) or self._in_full(record)

    def _at_a_glance(self, record: ConsumerRecord) -> str | None:
        """Nearly every line is this one, so that it is made in one go; None for what must be painted, checked, or looked at more closely."""
        told = self._plain.get(record.topic)
        if told is None or not _looks_right(told[0], record):
            return None
        try:
            return f"{_clock(record.timestamp)}{told[1]} {f'{record.partition}/{record.offset}':{_PLACE_WIDTH}}{record.value.decode()}"
        except UnicodeDecodeError:
            return None

    @cached_property
    def _plain(self) -> dict[str, tuple[tuple[str, bytes], str]]:
        """The header that an event of each topic has, and the topic's name as a line shows it."""
        if self.coloured or self.checked:
            return {}
        return {
            name: (_type_header(topic), name.ljust(_TOPIC_WIDTH))
            for name, topic in self.topics.items()
            if name not in self.dead_letters
        }

    def _in_full(self, record: ConsumerRecord) -> str:
        topic = self.topics[record.topic]
        start = self._paint(_DIM, _clock(record.timestamp)) + self._paint(
            self._colour(record.topic), record.topic.ljust(_TOPIC_WIDTH)
        )
        start += self._paint(_DIM, f" {record.partition}/{record.offset}".ljust(_PLACE_WIDTH) + " ")
        if record.topic in self.dead_letters:
            start += self._paint(_RED, _why(record) + " ")
        if is_tombstone(topic, record):
            return start + self._paint(_DIM, (record.key or b"").decode(errors="replace") + " erased")
        try:
            self._check(topic, record)
            return start + (_briefly(record.value) if self.coloured else _one_line(record.value))
        except InvalidMessageError as flaw:
            raw = repr(record.value[:300])[1:] if record.value else ""
            return start + self._paint(_RED, f"{flaw.reason}: {' '.join(str(flaw).split())[:200]}") + " " + raw

    def _check(self, topic: Topic[Any], record: ConsumerRecord) -> None:
        """Raises `InvalidMessageError`."""
        if self.checked or not _looks_right(_type_header(topic), record) or not _is_json(record.value):
            _check_wholly(topic, record)

    def _paint(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured else text

    def _colour(self, name: str) -> int:
        return _RED if name in self.dead_letters else _FAMILIES.get(self.topics[name].name.partition(".")[0], _WHITE)


def _looks_right(type_header: tuple[str, bytes], record: ConsumerRecord) -> bool:
    """An object on one line with its type's header."""
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


def _check_wholly(topic: Topic[Any], record: ConsumerRecord) -> None:
    """Raises `InvalidMessageError` as `decode` does, which has the last word; what our own writers wrote is known at a glance."""
    told = dict(record.headers)
    ours = (
        told.get("ce_type") == topic.event.type.encode()
        and told.get("content-type") == CONTENT_TYPE
        and _ID.fullmatch(told.get("ce_id") or b"")
    )
    if not (
        ours
        and _TIME.fullmatch(told.get("ce_time") or b"")
        and None not in told.values()
        and b"".join(told.values()).isascii()
    ):
        decode(topic, record)
        return
    try:
        topic.event.__pydantic_validator__.validate_json(record.value)
    except ValidationError:
        decode(topic, record)


def _identity(record: ConsumerRecord) -> str:
    told = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    replay = f', "replay": {json.dumps(told[REPLAY_HEADER])}' if REPLAY_HEADER in told else ""
    return f', "id": {json.dumps(told.get("ce_id"))}, "time": {json.dumps(told.get("ce_time"))}{replay}'


@lru_cache(maxsize=4096)
def _clock(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%H:%M:%S}.{milliseconds % 1000:03} "


def _one_line(body: bytes | None) -> str:
    """It is JSON already, perhaps on several lines."""
    if body is None:
        return "null"
    return pydantic_core.to_json(pydantic_core.from_json(body)).decode() if b"\n" in body else body.decode()


def _briefly(body: bytes | None) -> str:
    """For eyes: without what is null, and photos by their hash alone."""
    event = pydantic_core.from_json(body or b"{}")
    return pydantic_core.to_json(
        {name: value["sha256"][:12] if name == "image" else value for name, value in event.items() if value is not None}
    ).decode()


def _reasons(record: ConsumerRecord) -> dict[str, str]:
    return {
        name.removeprefix("dlq_"): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith("dlq_")
    }


def _why(record: ConsumerRecord) -> str:
    told = _reasons(record)
    return (
        f"{told.get('reason') or told.get('error_type', '?')}: {' '.join(told.get('error_message', '').split())[:120]}"
    )
