"""Text of docs/flow.md: diagrams and table of the topics with their producers and consumers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from savo_contracts.topics import TOPICS, Topic

__all__ = ["flow_markdown"]


def flow_markdown() -> str:
    """Markdown with a Mermaid diagram of the services and topics, and the table of topics."""
    return "\n".join(_flow_lines()) + "\n"


def _flow_lines() -> Iterator[str]:
    yield "# The flow"
    yield ""
    yield "Generated from `savo_contracts/topics.py` by `make generate`. Do not edit."
    yield ""
    yield "An arrow leads from a service that publishes events to a service that consumes them. Its text is the topics."
    yield ""
    yield from _diagram("-->", [topic for topic in TOPICS if not topic.planned], "phone((phone)) -->|HTTP| gateway")
    planned = [topic for topic in TOPICS if topic.planned]
    if planned:
        yield ""
        yield "## Planned"
        yield ""
        yield "The services on the right already handle these events. No service publishes the first of them yet, so"
        yield "these topics are empty."
        yield ""
        yield from _diagram("-.->", planned)
    yield ""
    yield "## Topics"
    yield ""
    yield from _table()


def _diagram(arrow: str, topics: Sequence[Topic[Any]], *others: str) -> Iterator[str]:
    """An arrow for each pair of services, with all topics between them. `others` are Mermaid lines put before these."""
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
        event = f"`{topic.event.__name__}` (`{topic.event.type}`)"
        yield (
            f"| {name} | {event} | {topic.key_name} | {', '.join(topic.producers)} "
            f"| {', '.join(topic.consumers)} | {topic.partitions} | {topic.retention} |"
        )
    yield ""
    yield "A record that a service cannot process goes unchanged to `<topic>.<service>.dlq`, its reason in headers."
