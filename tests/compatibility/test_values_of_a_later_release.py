"""Open values of a later release: no service fails on them or loses them (ADR 18).

The services' handlers and projections read every golden message with unknown values in its open fields. How services
show such values is tested in each service's `test_values_of_a_later_release.py`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from savo_collector.adapters import tables as collector_tables
from savo_contracts.envelope import Envelope
from savo_contracts.open_values import OPEN_VALUE
from savo_contracts.specs.json_schema import event_schema
from savo_contracts.topics import TOPICS, Topic
from savo_gateway.adapters import tables as gateway_tables
from savo_runtime.service import Runtime, ServiceDefinition
from savo_runtime.settings import load_settings
from savo_runtime.testing import memory_runtime
from savo_vision.adapters.tables import SpendingRow

EXAMPLES = Path(str(files("savo_contracts"))) / "examples"
DEFINITIONS: dict[str, ServiceDefinition] = {entry.name: entry.load() for entry in entry_points(group="savo.services")}

UNKNOWN = "known-to-a-later-release-alone-1"
"""A value of the maximum length."""

OPEN_FIELDS = {
    "savo.scan.completed.v1": ["fallback_reason", "served_by"],
    "savo.scan.confirmed.v1": ["fallback_reason", "items[].box_source", "served_by"],
    "savo.scan.erased.v1": ["requested_by"],
    "savo.scan.failed.v1": ["code"],
    "savo.sample.rejected.v1": ["reason"],
    "savo.training.finished.v1": ["outcome", "trigger"],
    "savo.training.threshold-reached.v1": ["reason"],
    "savo.rollout.changed.v1": ["state"],
}


@dataclass(frozen=True)
class Example:
    """A golden message with unknown values in its open fields."""

    topic: Topic[Any]
    path: Path

    @property
    def envelope(self) -> Envelope[Any]:
        record = json.loads(self.path.read_text(encoding="utf-8"))
        schema = event_schema(self.topic)
        body = json.dumps(_with_unknown_values(record["value"], schema, schema)).encode()
        headers = [(name, value.encode()) for name, value in record["headers"].items()]
        return Envelope.decode(self.topic.event, body, headers)


def _with_unknown_values(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    kinds = list(_kinds(schema, root))
    if value is not None and any(kind.get("pattern") == OPEN_VALUE for kind in kinds):
        return UNKNOWN
    if isinstance(value, dict):
        properties = {name: part for kind in kinds for name, part in kind.get("properties", {}).items()}
        return {name: _with_unknown_values(part, properties.get(name, {}), root) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_unknown_values(part, kinds[0].get("items", {}), root) for part in value]
    return value


def _kinds(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema with its references resolved, and its alternatives."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for alternative in schema.get("anyOf", ()):
        yield from _kinds(alternative, root)


def open_fields(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[str]:
    for kind in _kinds(schema, root):
        if kind.get("pattern") == OPEN_VALUE:
            yield path
        for name, part in kind.get("properties", {}).items():
            yield from open_fields(part, root, f"{path}.{name}".lstrip("."))
        if "items" in kind:
            yield from open_fields(kind["items"], root, f"{path}[]")


def examples(topics: tuple[Topic[Any], ...]) -> list[Example]:
    return [
        Example(topic, path)
        for topic in topics
        if topic.event.type in OPEN_FIELDS
        for path in sorted((EXAMPLES / topic.name).glob("*.json"))
    ]


@asynccontextmanager
async def runtime_of(service: str) -> AsyncIterator[Runtime]:
    async with memory_runtime(service, migrations=str(DEFINITIONS[service].migrations)) as runtime:
        yield runtime


def test_the_open_fields_are_those_of_the_decision_record() -> None:
    found = {topic.event.type: sorted(set(open_fields(event_schema(topic), event_schema(topic)))) for topic in TOPICS}
    assert {name: fields for name, fields in found.items() if fields} == OPEN_FIELDS


@pytest.mark.parametrize("service", DEFINITIONS)
async def test_a_services_handlers_accept_unknown_values(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    async with runtime_of(service) as runtime:
        built = DEFINITIONS[service].build(load_settings(DEFINITIONS[service].settings), runtime)
        handlers = {subscription.topic.name: subscription.handle for subscription in built.subscriptions}
        handlers |= {snapshot.topic.name: snapshot.apply for snapshot in built.snapshots}
        for example in examples(tuple(topic for topic in TOPICS if service in topic.consumers)):
            await handlers[example.topic.name](example.envelope)
        for stop in built.on_stop:
            await stop()


@pytest.mark.parametrize("service", [name for name, definition in DEFINITIONS.items() if definition.projection])
async def test_a_services_projection_accepts_unknown_values(service: str) -> None:
    projection = DEFINITIONS[service].projection
    assert projection is not None
    async with runtime_of(service) as runtime:
        fold = projection.fold(load_settings(projection.settings), runtime)
        for example in examples(projection.topics):
            for subscription in fold.subscriptions:
                if subscription.topic is example.topic:
                    await subscription.handle(example.envelope)
        async with runtime.database.session() as session:
            await fold.finish(session)


@pytest.mark.parametrize(
    "column",
    [
        gateway_tables.ScanRow.error_code,
        gateway_tables.RejectionRow.reason,
        collector_tables.RejectionRow.reason,
        SpendingRow.provider,
    ],
    ids=str,
)
def test_a_column_is_long_enough_for_unknown_values(column: Any) -> None:
    assert column.type.length >= len(UNKNOWN)
