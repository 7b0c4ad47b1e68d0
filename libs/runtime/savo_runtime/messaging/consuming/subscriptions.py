"""Declaration of handlers: two decorators on a free function, and `bind` in the service's composition root.

    @consumes(SCANS_CONFIRMED)
    @publishes(SAMPLES_STORED, SAMPLES_REJECTED)
    async def on_scan_confirmed(confirmed: ScanConfirmed, collect: Collect) -> SampleStored | SampleRejected | None:
        return await collect(confirmed)

    Service(name="collector", subscriptions=[bind(on_scan_confirmed, collect=collect)])

The event is the first argument; dependencies are passed by name. A handler with a parameter `event_id` gets the
record's `ce_id`. A handler with a parameter `replay` gets the id of the replay that the record comes from, or None for
a live record.
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
    """Kinds of records of one topic, each with its own slots and its own dependency pause.

    A kind may be named like a dependency: while that dependency is down, a record of another kind that needs it
    continues as a record of that kind.
    """

    of: Callable[[Any], str]
    """The kind of an event: a key of `slots`."""
    slots: Mapping[str, int]
    """By kind: the number of records that this replica processes at the same time."""


@dataclass(frozen=True)
class Subscription:
    """A topic, the function that handles its events, and the topics of the events that the function returns."""

    topic: Topic[Any]
    handle: Callable[[Envelope[Any]], Awaitable[Outcome]]
    publishes: tuple[Topic[Any], ...] = ()
    concurrency: int = 1
    """Records that this replica processes at the same time. Records of one key are always processed in order."""
    kinds: Kinds | None = None


@dataclass(frozen=True)
class Snapshot:
    """A compacted topic that every replica reads from its start, without a group.

    The service is ready only after it has read the topic to its end.
    """

    topic: Topic[Any]
    apply: Callable[[Envelope[Any]], Awaitable[None]]


def consumes(topic: Topic[Any]) -> Callable[[F], F]:
    """Decorator: the topic whose events the function handles."""

    def mark(handler: F) -> F:
        setattr(handler, _CONSUMES, topic)
        return handler

    return mark


def publishes(*topics: Topic[Any]) -> Callable[[F], F]:
    """Decorator: every topic that the handler publishes on, by returned events or through the outbox."""

    def mark(handler: F) -> F:
        setattr(handler, _PUBLISHES, topics)
        return handler

    return mark


def bind(handler: Handler, *, concurrency: int = 1, kinds: Kinds | None = None, **dependencies: Any) -> Subscription:
    """A subscription from a decorated handler and its dependencies.

    Raises `TypeError` at start, not at the first record, when a dependency is missing or unknown.
    """
    wanted = [name for name in _OF_THE_ENVELOPE if name in inspect.signature(handler).parameters]
    inspect.signature(handler).bind(object(), **dependencies, **dict.fromkeys(wanted))

    topics: tuple[Topic[Any], ...] = getattr(handler, _PUBLISHES, ())

    async def handle(envelope: Envelope[Any]) -> Outcome:
        of_the_envelope = {name: _OF_THE_ENVELOPE[name](envelope) for name in wanted}
        with within_handler(topics):
            return await handler(envelope.event, **dependencies, **of_the_envelope)

    total = sum(kinds.slots.values()) if kinds else concurrency
    return Subscription(getattr(handler, _CONSUMES), handle, topics, total, kinds)


def read_snapshot(handler: Callable[..., Awaitable[None]], **dependencies: Any) -> Snapshot:
    """Like `bind`, for a compacted topic that each replica reads from its start. Raises `TypeError`."""
    inspect.signature(handler).bind(object(), **dependencies)

    async def apply(envelope: Envelope[Any]) -> None:
        await handler(envelope.event, **dependencies)

    return Snapshot(getattr(handler, _CONSUMES), apply)
