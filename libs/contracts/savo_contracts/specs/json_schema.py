"""JSON Schemas of the events, and their file names."""

from __future__ import annotations

from typing import Any

from savo_contracts.topics import Topic

__all__ = ["event_schema", "schema_name"]


def schema_name(topic: Topic[Any]) -> str:
    return f"{topic.event.type}.json"


def event_schema(topic: Topic[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a topic's event body."""
    schema: dict[str, Any] = topic.event.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:savo:{topic.event.type}", **schema}
