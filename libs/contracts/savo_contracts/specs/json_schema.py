"""JSON Schemas of the events and of stored documents, and their names."""

from __future__ import annotations

from typing import Any

from savo_contracts.documents import EXPORT_VERSION, META_VERSION, ExportedSample, ExportSummary, SampleMeta
from savo_contracts.envelope import Message
from savo_contracts.topics import Topic

__all__ = ["STORED_DOCUMENTS", "document_schema", "event_schema", "schema_name"]

_DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}

STORED_DOCUMENTS: dict[str, type[Message]] = {
    f"sample-meta.v{META_VERSION}": SampleMeta,
    f"export-manifest.v{EXPORT_VERSION}": ExportedSample,
    f"export-summary.v{EXPORT_VERSION}": ExportSummary,
}
"""Documents of the object store and of exports that other programs read, by the name of their schema's file."""


def schema_name(topic: Topic[Any]) -> str:
    return f"{topic.event.type}.json"


def event_schema(topic: Topic[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a topic's event body."""
    schema: dict[str, Any] = topic.event.model_json_schema(mode="validation")
    return {**_DIALECT, "$id": f"urn:savo:{topic.event.type}", **schema}


def document_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a stored document."""
    return {**_DIALECT, "$id": f"urn:savo:{name}", **STORED_DOCUMENTS[name].model_json_schema(mode="validation")}
