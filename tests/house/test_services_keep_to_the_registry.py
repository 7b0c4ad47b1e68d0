"""The topic registry is what the services do: they read and write the topics that it names them for, and no others.

What a service writes is declared twice: by its handlers' `@publishes`, and in `ServiceDefinition.publishes` for the rest.
The outbox refuses an event that neither declares, so the declarations hold all that is published; the tests below check
that they hold nothing else.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from savo_contracts.topics import SERVICES, TOPICS, Topic, topic_named

ROOT = Path(__file__).parents[2]

MADE_FOR_OWN_USE = {
    # A result that the app reported, and the failure of a scan that was never answered: both stay in the gateway's tables.
    "gateway": {"ScanCompleted", "ScanFailed"},
}
TOOLS_CODE = {"cli": (ROOT / "cli/savo_cli", ROOT / "libs/operations/savo_operations")}
MAKERS = {"audit": "AuditRecorded"}
"""Functions of `savo_runtime` that make an event for their caller."""


def handlers(service: str) -> Iterator[tuple[str, set[str]]]:
    """The topic that each handler consumes, and those that it publishes on."""
    for handler in vars(importlib.import_module(f"savo_{service}.handlers")).values():
        consumed: Any = getattr(handler, "__savo_consumes__", None)
        if isinstance(consumed, Topic):
            yield consumed.name, {topic.name for topic in getattr(handler, "__savo_publishes__", ())}


def started(service: str) -> set[str]:
    """Topics that the service writes to outside of handlers."""
    return {topic.name for topic in importlib.import_module(f"savo_{service}.app").DEFINITION.publishes}


def declared(service: str) -> set[str]:
    return started(service).union(*(published for _, published in handlers(service)))


def made(*packages: Path) -> set[str]:
    """Names of the events that the code constructs, itself or by a maker."""
    found: set[str] = set()
    for path in (path for package in packages for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found.add(node.func.id)
            elif isinstance(node, ast.Name):
                found.add(MAKERS.get(node.id, ""))
    return found & {topic.event.__name__ for topic in TOPICS}


def reachable() -> set[str]:
    """Topics that a record can be on: started by a service or a tool, or published by a handler of such a topic."""
    found = {topic.name for topic in TOPICS if set(topic.producers) & set(TOOLS_CODE)}
    found = found.union(*map(started, SERVICES))
    rules = [rule for service in SERVICES for rule in handlers(service)]
    while more := set().union(*(published for consumed, published in rules if consumed in found)) - found:
        found |= more
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_what_the_registry_says(service: str) -> None:
    assert {consumed for consumed, _ in handlers(service)} == {topic.name for topic in TOPICS if service in topic.consumers}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_what_the_registry_says(service: str) -> None:
    written = declared(service)
    not_built_yet = {topic.name for topic in TOPICS if topic.planned and topic.name not in written}
    assert written == {topic.name for topic in TOPICS if service in topic.producers} - not_built_yet


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_makes_the_events_that_it_declares_and_no_others(service: str) -> None:
    events = {topic_named(name).event.__name__ for name in declared(service)}
    assert made(ROOT / f"services/{service}/savo_{service}") == events | MADE_FOR_OWN_USE.get(service, set())


@pytest.mark.parametrize("tool", TOOLS_CODE)
def test_a_tool_makes_the_events_that_the_registry_says(tool: str) -> None:
    assert made(*TOOLS_CODE[tool]) == {topic.event.__name__ for topic in TOPICS if tool in topic.producers}


def test_a_topic_is_planned_as_long_as_nothing_leads_to_it() -> None:
    assert {topic.name for topic in TOPICS if topic.planned} == {topic.name for topic in TOPICS} - reachable()
