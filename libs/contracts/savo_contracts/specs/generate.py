"""Everything that is written out of the topic registry: JSON Schemas, docs/flow.md, docs/asyncapi.json.

`python -m savo_contracts.specs.generate` writes them (`make generate`); tests fail while a committed one differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from savo_contracts.envelope import SPEC_VERSION
from savo_contracts.specs.compatibility import breaking_changes
from savo_contracts.topics import TOPICS, Topic

__all__ = ["asyncapi_document", "documents", "event_schema", "flow_markdown", "main", "schema_name"]

_PACKAGE = Path(str(files("savo_contracts")))
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


def flow_markdown() -> str:
    """docs/flow.md: diagrams of which service sends which event to which, and the table behind them."""
    return "\n".join(_flow_lines()) + "\n"


def _flow_lines() -> Iterator[str]:
    yield "# The flow"
    yield ""
    yield "Generated from `savo_contracts/topics.py` by `make generate`. Do not edit."
    yield ""
    yield "An arrow leads from the service that publishes an event to the services that consume it, and carries the topics."
    yield ""
    yield from _diagram("-->", [topic for topic in TOPICS if not topic.planned], "phone((phone)) -->|HTTP| gateway")
    planned = [topic for topic in TOPICS if topic.planned]
    if planned:
        yield ""
        yield "## Planned"
        yield ""
        yield "The services on the right already handle these events. Nothing publishes the first of them yet, so that"
        yield "no record is on these topics."
        yield ""
        yield from _diagram("-.->", planned)
    yield ""
    yield "## Topics"
    yield ""
    yield from _table()


def _diagram(arrow: str, topics: Sequence[Topic[Any]], *others: str) -> Iterator[str]:
    """One arrow a pair of services, with all topics between them; `others` are lines of Mermaid before these."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for topic in topics:
        for pair in product(topic.producers, topic.consumers):
            arrows.setdefault(pair, []).append(topic.name)
    yield "```mermaid"
    yield "flowchart LR"
    yield from (f"    {line}" for line in others)
    for (producer, consumer), names in arrows.items():
        yield f"    {producer} {arrow}|{'<br>'.join(names)}| {consumer}"
    yield "```"


def _table() -> Iterator[str]:
    yield "| topic | event | key | written by | read by | partitions | kept |"
    yield "|---|---|---|---|---|---|---|"
    for topic in TOPICS:
        name = f"`{topic.name}`" + (" (planned)" if topic.planned else "")
        yield (
            f"| {name} | `{topic.event.__name__}` (`{topic.event.type}`) | {topic.key_name} | {', '.join(topic.producers)} "
            f"| {', '.join(topic.consumers)} | {topic.partitions} | {topic.retention} |"
        )
    yield ""
    yield "What a service cannot handle goes to `<topic>.<service>.dlq`, raw, with the reason in its headers."


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
