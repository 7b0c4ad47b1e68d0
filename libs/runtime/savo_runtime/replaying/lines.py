"""One line a record, as fast as it can be said: coloured for eyes, or JSON for programs.

The body is checked against its contract once and then passed on as it came: no event is taken apart and put together again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pydantic_core
from aiokafka import ConsumerRecord

from savo_contracts.topics import Topic
from savo_runtime.errors import InvalidMessageError
from savo_runtime.messaging.records import decode, is_tombstone
from savo_runtime.replaying.showing import body_of

__all__ = ["Lines"]

_FAMILIES = {"scans": 36, "samples": 32, "training": 35, "models": 35, "rollout": 33, "recipes": 34, "audit": 33}
_DIM, _RED, _WHITE = 2, 31, 37
_TOPIC_WIDTH, _PLACE_WIDTH = 28, 10


@dataclass(frozen=True)
class Lines:
    """`topics` by their name on Kafka; of a dead-letter topic it is the topic that its letters come from."""

    topics: Mapping[str, Topic[Any]]
    dead_letters: frozenset[str] = frozenset()
    as_json: bool = False
    coloured: bool = False

    def of(self, records: Iterable[ConsumerRecord]) -> list[str]:
        say = self._json if self.as_json else self._words
        return [say(record) for record in records]

    def _json(self, record: ConsumerRecord) -> str:
        topic = self.topics[record.topic]
        key = json.dumps((record.key or b"").decode(errors="replace"), ensure_ascii=False)
        start = f'{{"topic": "{record.topic}", "partition": {record.partition}, "offset": {record.offset}, "key": {key}'
        if record.topic in self.dead_letters:
            start += f', "dead_letter": {json.dumps(_reasons(record), ensure_ascii=False)}'
        try:
            told = "" if is_tombstone(topic, record) else _identity(topic, record)
        except InvalidMessageError:
            return f"{start}, {json.dumps(body_of(topic, record), ensure_ascii=False)[1:]}"
        return f'{start}{told}, "event": {_one_line(record.value)}}}'

    def _words(self, record: ConsumerRecord) -> str:
        topic = self.topics[record.topic]
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        start = self._paint(_DIM, f"{at:%H:%M:%S}.{record.timestamp % 1000:03} ") + self._paint(self._colour(record.topic), record.topic.ljust(_TOPIC_WIDTH))
        start += self._paint(_DIM, f" {record.partition}/{record.offset}".ljust(_PLACE_WIDTH) + " ")
        if record.topic in self.dead_letters:
            start += self._paint(_RED, _why(record) + " ")
        if is_tombstone(topic, record):
            return start + self._paint(_DIM, (record.key or b"").decode(errors="replace") + " erased")
        try:
            decode(topic, record)
        except InvalidMessageError as flaw:
            raw = repr(record.value[:300])[1:] if record.value else ""
            return start + self._paint(_RED, f"{flaw.reason}: {' '.join(str(flaw).split())[:200]}") + " " + raw
        return start + pydantic_core.to_json(_briefly(pydantic_core.from_json(record.value or b"null"))).decode()

    def _paint(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured else text

    def _colour(self, name: str) -> int:
        return _RED if name in self.dead_letters else _FAMILIES.get(self.topics[name].name.partition(".")[0], _WHITE)


def _identity(topic: Topic[Any], record: ConsumerRecord) -> str:
    envelope = decode(topic, record)
    replay = f', "replay": "{envelope.replay}"' if envelope.replay else ""
    return f', "id": "{envelope.id}", "time": "{envelope.time.isoformat()}"{replay}'


def _one_line(body: bytes | None) -> str:
    """It is JSON already, perhaps on several lines."""
    if body is None:
        return "null"
    return pydantic_core.to_json(pydantic_core.from_json(body)).decode() if b"\n" in body else body.decode()


def _briefly(event: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and photos by their hash alone."""
    return {name: value["sha256"][:12] if name == "image" else value for name, value in event.items() if value is not None}


def _reasons(record: ConsumerRecord) -> dict[str, str]:
    return {name.removeprefix("dlq_"): (value or b"").decode(errors="replace") for name, value in record.headers if name.startswith("dlq_")}


def _why(record: ConsumerRecord) -> str:
    told = _reasons(record)
    return f"{told.get('reason') or told.get('error_type', '?')}: {' '.join(told.get('error_message', '').split())[:120]}"
