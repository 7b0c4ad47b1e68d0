"""docs/flow.md: who sends which event to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from savo_contracts.topics import TOPICS, Topic

__all__ = ["flow_markdown"]


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
