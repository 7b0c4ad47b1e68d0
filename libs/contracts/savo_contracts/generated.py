"""Everything that is written out of the topic registry: JSON Schemas, docs/flow.md, docs/asyncapi.json.

`python -m savo_contracts.generated` writes them (`make generate`); tests fail while a committed one differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from savo_contracts.compatibility import breaking_changes
from savo_contracts.envelope import SPEC_VERSION
from savo_contracts.topics import TOPICS, Topic

__all__ = ["asyncapi_document", "documents", "event_schema", "flow_markdown", "main", "schema_name"]

_PACKAGE = Path(str(files(__package__)))
_REPOSITORY = _PACKAGE.parents[2]

_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion"],
    "properties": {
        "ce_id": {"type": "string", "format": "uuid", "description": "Stable for a repeat of the same event: consumers dedupe on it."},
        "ce_type": {"type": "string", "description": "Name and version of the event."},
        "ce_source": {"type": "string", "description": "The service that published it."},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_specversion": {"const": SPEC_VERSION},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}


def schema_name(topic: Topic[Any]) -> str:
    return f"{topic.event.type}.json"


def event_schema(topic: Topic[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a topic's event body."""
    schema: dict[str, Any] = topic.event.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:savo:{topic.event.type}", **schema}


def asyncapi_document() -> dict[str, Any]:
    """AsyncAPI 3.0: every topic as a channel, who sends and who receives."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Savo's vision flywheel",
            "version": "1",
            "description": "CloudEvents 1.0 in binary mode over Kafka. Photos never travel here; events carry an ImageRef.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": dict(_operations()),
        "components": {"messages": {topic.event.__name__: _message(topic) for topic in TOPICS}},
    }


def _channel(topic: Topic[Any]) -> dict[str, Any]:
    dead_letters = ", ".join(topic.dead_letters(service) for service in topic.consumers)
    return {
        "address": topic.name,
        "description": f"Key: {topic.key_name}. Kept: {topic.retention}. Dead letters: {dead_letters}.",
        "messages": {topic.event.__name__: {"$ref": f"#/components/messages/{topic.event.__name__}"}},
        "bindings": {"kafka": {"topic": topic.name, "partitions": topic.partitions, "bindingVersion": "0.5.0"}},
    }


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
        for action, services in (("send", topic.producers), ("receive", topic.consumers)):
            for service in services:
                yield f"{service}.{action}.{topic.name}", {"action": action, "channel": {"$ref": f"#/channels/{topic.name}"}, "title": service}


def flow_markdown() -> str:
    """docs/flow.md: the picture of who tells whom what, and the table behind it."""
    return "\n".join(["# The flow", "", "Generated from `savo_contracts/topics.py` by `make generate`. Do not edit.", "", *_mermaid(), "", *_table()]) + "\n"


def _mermaid() -> Iterator[str]:
    yield "```mermaid"
    yield "flowchart LR"
    yield "    phone((phone)) -->|HTTP| gateway"
    for topic in TOPICS:
        for producer in topic.producers:
            for consumer in topic.consumers:
                yield f"    {producer} -->|{topic.name}| {consumer}"
    yield "```"


def _table() -> Iterator[str]:
    yield "| topic | event | key | written by | read by | partitions | kept |"
    yield "|---|---|---|---|---|---|---|"
    for topic in TOPICS:
        yield (
            f"| `{topic.name}` | `{topic.event.__name__}` (`{topic.event.type}`) | {topic.key_name} | {', '.join(topic.producers)} "
            f"| {', '.join(topic.consumers)} | {topic.partitions} | {topic.retention} |"
        )
    yield ""
    yield "What a service cannot work on goes to `<topic>.<service>.dlq`, raw, with the reason in its headers."


def documents() -> dict[Path, str]:
    """Every generated file of the repository with its text."""
    written = {_PACKAGE / "schemas" / schema_name(topic): _json(event_schema(topic)) for topic in TOPICS}
    written[_REPOSITORY / "docs" / "flow.md"] = flow_markdown()
    written[_REPOSITORY / "docs" / "asyncapi.json"] = _json(asyncapi_document())
    return written


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write what differs; refuse when a change would break older messages or readers."""
    broken = [f"{topic.event.type} {change}" for topic in TOPICS for change in _changes_against_committed(topic)]
    if broken:
        sys.stderr.write("not written: give these events a new version (…v2) beside the old one:\n" + "\n".join(broken) + "\n")
        return 1
    for path, text in documents().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(_REPOSITORY)}\n")
    return 0


def _changes_against_committed(topic: Topic[Any]) -> list[str]:
    path = _PACKAGE / "schemas" / schema_name(topic)
    return breaking_changes(json.loads(path.read_text(encoding="utf-8")), event_schema(topic)) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
