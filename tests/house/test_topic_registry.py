"""The topic registry is what the services do: they read and write the topics that it names them for, and no others.

The outbox refuses an event whose topic does not name the service as a producer, or is missing in the `@publishes` of the
handler at work. The tests below compare the registry with the events that the code constructs, so that it names no
producer too many either.
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

MAKERS = {"audit": "AuditRecorded"}
"""Functions of `savo_runtime` that make an event for their caller."""

MADE_FOR_OWN_USE = {
    # A result that the app reported, and the failure of a scan that was never answered: both stay in the gateway's tables.
    "gateway": {"scans.completed", "scans.failed"},
}


def handlers(service: str) -> Iterator[tuple[str, set[str]]]:
    """The topic that each handler consumes, and those that it publishes on."""
    for handler in vars(importlib.import_module(f"savo_{service}.handlers")).values():
        consumed: Any = getattr(handler, "__savo_consumes__", None)
        if isinstance(consumed, Topic):
            yield consumed.name, {topic.name for topic in getattr(handler, "__savo_publishes__", ())}


def made(producer: str) -> set[str]:
    """Topics whose events the code constructs to publish them, itself or by a maker."""
    found: set[str] = set()
    for path in (path for package in CODE[producer] for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found.add(node.func.id)
            elif isinstance(node, ast.Name):
                found.add(MAKERS.get(node.id, ""))
    return {topic.name for topic in TOPICS if topic.event.__name__ in found} - MADE_FOR_OWN_USE.get(producer, set())


def started(service: str) -> set[str]:
    """Topics that no handler of the service publishes on: their events are made for HTTP requests or in workers."""
    return made(service).difference(*(published for _, published in handlers(service)))


def reachable() -> set[str]:
    """Topics that a record can be on: started by a service or a tool, or published by a handler of such a topic."""
    found = set().union(*map(made, TOOLS), *map(started, SERVICES))
    rules = [rule for service in SERVICES for rule in handlers(service)]
    while more := set().union(*(published for consumed, published in rules if consumed in found)) - found:
        found |= more
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_what_the_registry_says(service: str) -> None:
    assert {consumed for consumed, _ in handlers(service)} == {
        topic.name for topic in TOPICS if service in topic.consumers
    }


@pytest.mark.parametrize("producer", [*SERVICES, *TOOLS])
def test_a_producer_writes_what_the_registry_says(producer: str) -> None:
    written = made(producer)
    not_built_yet = {topic.name for topic in TOPICS if topic.planned} - written
    assert written == {topic.name for topic in TOPICS if producer in topic.producers} - not_built_yet


@pytest.mark.parametrize("service", SERVICES)
def test_a_handler_publishes_on_topics_of_its_service(service: str) -> None:
    published = set().union(*(published for _, published in handlers(service)))
    assert [name for name in published if service not in topic_named(name).producers] == []


def test_a_topic_is_planned_as_long_as_nothing_leads_to_it() -> None:
    assert {topic.name for topic in TOPICS if topic.planned} == {topic.name for topic in TOPICS} - reachable()
