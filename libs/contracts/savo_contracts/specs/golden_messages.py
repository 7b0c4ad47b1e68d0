"""Golden messages: complete records in `examples/<topic>/` that every later release must be able to read.

A new topic's first golden message is made from the example in its event's class, and is never rewritten:

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "v2", "replica": "vision-6f9c", …}]})
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from savo_contracts.envelope import Envelope, named_id
from savo_contracts.specs.json_schema import event_schema
from savo_contracts.topics import Topic

__all__ = ["NoExampleError", "first_golden_message"]

_TIME = datetime(2026, 3, 2, 8, 30, 15, tzinfo=UTC)
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class NoExampleError(ValueError):
    """The event's class has no example."""

    def __init__(self, topic: Topic[Any]) -> None:
        example = 'model_config = ConfigDict(json_schema_extra={"examples": [{…}]})'
        super().__init__(f"{topic.name} has no golden message: give {topic.event.__name__} an example, {example}")


def first_golden_message(topic: Topic[Any]) -> dict[str, Any]:
    """A record as JSON, with key, headers and value, made from the event's example.

    Raises `NoExampleError` without an example and pydantic's `ValidationError` for an invalid example.
    """
    examples = event_schema(topic).get("examples")
    if not examples:
        raise NoExampleError(topic)
    event = topic.event.model_validate(examples[0])
    event_id = named_id(f"golden-message/{topic.name}")
    envelope = Envelope.new(event, topic.producers[0], event_id=event_id, time=_TIME, traceparent=_TRACE)
    return {
        "key": topic.key(event),
        "headers": {name: value.decode() for name, value in envelope.headers()},
        "value": json.loads(envelope.body()),
    }
