"""How a service says what it reads: two decorators on a free function, and `bind` in its composition root.

    @consumes(SCANS_CONFIRMED)
    @publishes(SAMPLES_STORED, SAMPLES_REJECTED)
    async def on_scan_confirmed(confirmed: ScanConfirmed, collect: Collect) -> SampleStored | SampleRejected | None:
        return await collect(confirmed)

    Service(name="collector", subscriptions=[bind(on_scan_confirmed, collect=collect)])

The event comes first; the rest is given by name. A handler that names a parameter `event_id` gets the record's `ce_id`; one that names
`replay` gets the id of the replay that the record comes from, None for a live one.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from savo_contracts.envelope import Envelope, Event
from savo_contracts.topics import Topic
from savo_runtime.messaging.publishing.declared_topics import within_handler

__all__ = ["Kinds", "Outcome", "Snapshot", "Subscription", "bind", "consumes", "publishes", "read_snapshot"]

Outcome = Event | Sequence[Event] | None
Handler = Callable[..., Awaitable[Outcome]]
F = TypeVar("F", bound=Handler)

_CONSUMES = "__savo_consumes__"
_PUBLISHES = "__savo_publishes__"

_OF_THE_ENVELOPE: dict[str, Callable[[Envelope[Any]], object]] = {
    "event_id": lambda envelope: envelope.id,
    "replay": lambda envelope: envelope.replay,
}


@dataclass(frozen=True)
class Kinds:
    """Kinds of records of one topic: those of one kind wait neither for the slots of another nor for what only the other needs.

    A kind may be named like a dependency: a record of another kind that needs it while it is down goes on as one of that kind.
    """

    of: Callable[[Any], str]
    """The kind of an event, one of those in `slots`."""
    slots: Mapping[str, int]
    """Records of each kind that are worked on at a time in this replica."""


@dataclass(frozen=True)
class Subscription:
    """One topic, the function that takes its events, and the topics of what that function returns."""

    topic: Topic[Any]
    handle: Callable[[Envelope[Any]], Awaitable[Outcome]]
    publishes: tuple[Topic[Any], ...] = ()
    concurrency: int = 1
    """Records worked on at a time in this replica; of one key always one at a time, in order."""
    kinds: Kinds | None = None


@dataclass(frozen=True)
class Snapshot:
    """A compacted topic that every replica reads whole, without a group. The service is not ready before it has read it to its end."""

    topic: Topic[Any]
    apply: Callable[[Envelope[Any]], Awaitable[None]]


def consumes(topic: Topic[Any]) -> Callable[[F], F]:
    """The topic whose events the handler takes."""

    def mark(handler: F) -> F:
        setattr(handler, _CONSUMES, topic)
        return handler

    return mark


def publishes(*topics: Topic[Any]) -> Callable[[F], F]:
    """Every topic that the handler's work leads to: of the events that it returns, and of those that it leaves in the outbox."""

    def mark(handler: F) -> F:
        setattr(handler, _PUBLISHES, topics)
        return handler

    return mark


def bind(handler: Handler, *, concurrency: int = 1, kinds: Kinds | None = None, **dependencies: Any) -> Subscription:
    """Give a marked handler what it needs. Raises `TypeError` when a dependency is missing or unknown, at start, not at the first record."""
    wanted = [name for name in _OF_THE_ENVELOPE if name in inspect.signature(handler).parameters]
    inspect.signature(handler).bind(object(), **dependencies, **dict.fromkeys(wanted))

    topics: tuple[Topic[Any], ...] = getattr(handler, _PUBLISHES, ())

    async def handle(envelope: Envelope[Any]) -> Outcome:
        of_the_envelope = {name: _OF_THE_ENVELOPE[name](envelope) for name in wanted}
        with within_handler(topics):
            return await handler(envelope.event, **dependencies, **of_the_envelope)

    at_once = sum(kinds.slots.values()) if kinds else concurrency
    return Subscription(getattr(handler, _CONSUMES), handle, topics, at_once, kinds)


def read_snapshot(handler: Callable[..., Awaitable[None]], **dependencies: Any) -> Snapshot:
    """Like `bind`, for a compacted topic that each replica reads from its start. Raises `TypeError`."""
    inspect.signature(handler).bind(object(), **dependencies)

    async def apply(envelope: Envelope[Any]) -> None:
        await handler(envelope.event, **dependencies)

    return Snapshot(getattr(handler, _CONSUMES), apply)
