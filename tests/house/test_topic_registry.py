"""Topic registry: its producers and consumers are exactly the services that write and read each topic.

The outbox refuses an event whose topic does not list the service as a producer, or that the running handler's
`@publishes` does not list. The tests below compare the registry with the events that the code constructs, so they also
find a listed producer that writes nothing.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from savo_contracts.topics import SERVICES, TOOLS, TOPICS, Topic, topic_named

ROOT = Path(__file__).parents[2]

CODE = {service: [ROOT / f"services/{service}/savo_{service}"] for service in SERVICES}
CODE["cli"] = [ROOT / "cli/savo_cli", ROOT / "libs/operations/savo_operations"]

FACTORIES = {"audit": "AuditRecorded"}
"""Functions of `savo_runtime` that construct an event for their caller."""

NOT_PUBLISHED = {
    # Results that the app reports and failures of unanswered scans: the gateway stores them without publishing.
    "gateway": {"scans.completed", "scans.failed"},
}


def handlers(service: str) -> Iterator[tuple[str, set[str]]]:
    """For each handler, the topic that it consumes and the topics that it publishes to."""
    for handler in vars(importlib.import_module(f"savo_{service}.handlers")).values():
        consumed: Any = getattr(handler, "__savo_consumes__", None)
        if isinstance(consumed, Topic):
            yield consumed.name, {topic.name for topic in getattr(handler, "__savo_publishes__", ())}


def constructed(producer: str) -> set[str]:
    """Topics whose events the code constructs and publishes."""
    paths = (path for package in CODE[producer] for path in package.rglob("*.py"))
    found = set().union(*(called(path.read_text(encoding="utf-8")) for path in paths))
    return {topic.name for topic in TOPICS if topic.event.__name__ in found} - NOT_PUBLISHED.get(producer, set())


def called(code: str) -> set[str]:
    """Names of what the code calls: by its name, by an alias of an import, or as an attribute of a module."""
    tree = ast.parse(code)
    aliases = {
        name.asname: name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.asname
    }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                found.add(aliases.get(name, name))
            case ast.Call(func=ast.Attribute(attr=name)):
                found.add(name)
            case ast.Name(id=name) if name in FACTORIES:
                found.add(FACTORIES[name])
    return found


@pytest.mark.parametrize(
    "code",
    [
        "from savo_contracts.models import ModelRegistered\nModelRegistered()",
        "from savo_contracts.models import ModelRegistered as Registered\nRegistered()",
        "from savo_contracts import models\nmodels.ModelRegistered()",
        "import savo_contracts.models\nsavo_contracts.models.ModelRegistered()",
    ],
)
def test_a_planted_event_is_found(code: str) -> None:
    assert "ModelRegistered" in called(code)


def published_without_handler(service: str) -> set[str]:
    """Topics that the service publishes to from HTTP routes or workers, but not from handlers."""
    return constructed(service).difference(*(published for _, published in handlers(service)))


def reachable() -> set[str]:
    """Topics that can have records: written by a service, by a tool, or by a handler of such a topic."""
    found = set().union(*map(constructed, TOOLS), *map(published_without_handler, SERVICES))
    rules = [rule for service in SERVICES for rule in handlers(service)]
    while further := set().union(*(published for consumed, published in rules if consumed in found)) - found:
        found |= further
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_the_topics_of_the_registry(service: str) -> None:
    assert {consumed for consumed, _ in handlers(service)} == {
        topic.name for topic in TOPICS if service in topic.consumers
    }


@pytest.mark.parametrize("producer", [*SERVICES, *TOOLS])
def test_a_producer_writes_the_topics_of_the_registry(producer: str) -> None:
    written = constructed(producer)
    not_built_yet = {topic.name for topic in TOPICS if topic.planned} - written
    assert written == {topic.name for topic in TOPICS if producer in topic.producers} - not_built_yet


@pytest.mark.parametrize("service", SERVICES)
def test_a_handler_publishes_to_topics_of_its_service(service: str) -> None:
    published = set().union(*(published for _, published in handlers(service)))
    assert [name for name in published if service not in topic_named(name).producers] == []


def test_exactly_the_unreachable_topics_are_planned() -> None:
    assert {topic.name for topic in TOPICS if topic.planned} == {topic.name for topic in TOPICS} - reachable()
