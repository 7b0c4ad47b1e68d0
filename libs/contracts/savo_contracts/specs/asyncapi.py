"""AsyncAPI document of the topics, for docs/asyncapi.json and the gateway's /asyncapi."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from savo_contracts.envelope import SPEC_VERSION
from savo_contracts.specs.json_schema import event_schema
from savo_contracts.topics import TOPICS, Topic

__all__ = ["asyncapi_document"]

_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion"],
    "properties": {
        "ce_id": {
            "type": "string",
            "format": "uuid",
            "description": "Equal for a repeat of the same event: consumers deduplicate by it.",
        },
        "ce_type": {"type": "string", "description": "Name and version of the event."},
        "ce_source": {"type": "string", "description": "The service that published it."},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_specversion": {"const": SPEC_VERSION},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}


def asyncapi_document() -> dict[str, Any]:
    """AsyncAPI 3.0 document: a channel for every topic, an operation for every producer and consumer."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Savo's vision flywheel",
            "version": "1",
            "description": "CloudEvents 1.0 in binary mode over Kafka. "
            "Events carry no photos but references to them (ImageRef).",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {"messages": {topic.event.__name__: _message(topic) for topic in TOPICS}},
    }


def _channel(topic: Topic[Any]) -> dict[str, Any]:
    dead_letters = ", ".join(topic.dead_letters(service) for service in topic.consumers)
    planned = "Planned: nothing publishes on it yet. " if topic.planned else ""
    return {
        "address": topic.name,
        "description": f"{planned}Key: {topic.key_name}. Kept: {topic.retention}. Dead letters: {dead_letters}.",
        "messages": {topic.event.__name__: {"$ref": f"#/components/messages/{topic.event.__name__}"}},
        "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions, "bindingVersion": "0.5.0"}},
        **_planned(topic),
    }


def _planned(topic: Topic[Any]) -> dict[str, Any]:
    return {"x-planned": True} if topic.planned else {}


def _message(topic: Topic[Any]) -> dict[str, Any]:
    return {
        "name": topic.event.type,
        "summary": (topic.event.__doc__ or "").strip().splitlines()[0],
        "headers": _HEADERS,
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": event_schema(topic)},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key_name}, "bindingVersion": "0.5.0"}},
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in TOPICS:
        channel = {"$ref": f"#/channels/{topic.name}"}
        for action, services in (("send", topic.producers), ("receive", topic.consumers)):
            for service in services:
                operation = {"action": action, "channel": channel, "title": service, **_planned(topic)}
                yield f"{service}.{action}.{topic.name}", operation
