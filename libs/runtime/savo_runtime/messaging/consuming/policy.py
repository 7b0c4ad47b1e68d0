"""The consumer policy of all services, as one FastStream middleware.

    record ──► readable? ──no──────────────────────────────► dead letter ──► commit
                  │ yes
               handler ──RetryableError, a bug──► again, 3 times in all ──► dead letter ──► commit
                  │     ──DependencyDownError───► records of its kind wait, this one probes until it is back; partitions pause when no kind gets on
                  │     ──InvalidMessageError───► dead letter ──► commit
                  │     ──FatalError────────────► the service stops, uncommitted
               publish what it returned, under derived ids; tried again until it is acknowledged, the handler never again
                  │
               commit

How it sits in FastStream: the broker's `DefaultSubscriber` polls and rebalances; `consume_one`, the step between its poll
and its middlewares, hands each record to `ParallelConsumer`, which calls `process_message` when it is the record's turn. FastStream's own
concurrency either works on one record a partition (`max_workers`) or repeats much after a stop, and its acknowledgement commits
the position of every partition, so the acknowledgement is MANUAL and the windows commit. A parser that cannot fail takes the place
of FastStream's, which loses records with a null header or one that is not UTF-8 before any middleware sees them; reading a
record is then a step of this policy like any other. One mechanism serves concurrency 1 and N.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from faststream import AckPolicy, BaseMiddleware
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.subscriber.usecase import DefaultSubscriber
from pydantic import ValidationError

from savo_contracts.envelope import Envelope, Event, InvalidHeadersError, derived_id
from savo_contracts.topics import topic_of
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError
from savo_runtime.messaging.consuming.dead_letters import DeadLetterCap, DeadLetters, reason_of
from savo_runtime.messaging.consuming.dependency_pause import DependencyPause
from savo_runtime.messaging.consuming.parallel_consumer import ONLY_KIND, Delivery, ParallelConsumer
from savo_runtime.messaging.consuming.records import UnreadableRecordError, decode, is_tombstone
from savo_runtime.messaging.consuming.subscriptions import Outcome, Subscription
from savo_runtime.messaging.kafka.broker import group_of
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.messaging.replay_mark import within_replay
from savo_runtime.messaging.tracing import about, consuming, traceparent_of
from savo_runtime.telemetry.metrics import CONSUMER_PAUSED, REBALANCES, RETRIES
from savo_runtime.timing.backoff import Backoff

__all__ = ["ConsumerPolicy", "PolicyLimits", "TopicConsumer", "UndeclaredEventError"]

log = structlog.get_logger()

Handle = Callable[[Envelope[Any]], Awaitable[Outcome]]


class UndeclaredEventError(InvalidMessageError):
    """A handler returned an event that it does not declare with `@publishes`: a bug of ours, which no retry mends."""

    def __init__(self, subscription: Subscription, event: Event) -> None:
        declared = ", ".join(topic.name for topic in subscription.publishes) or "nothing"
        super().__init__(
            f"the handler of {subscription.topic.name} returned {type(event).__name__}, which goes to {topic_of(event).name}; it publishes {declared}",
            reason="undeclared-event",
        )


class _HopelessError(Exception):
    """The record goes to the dead letters. `fault` says why."""

    def __init__(self, fault: Exception, attempts: int) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.attempts = attempts


@dataclass(frozen=True)
class PolicyLimits:
    """Seconds and counts of the policy. Tests make them small."""

    attempts: int = 3
    first_delay: float = 0.5
    most_delay: float = 10.0
    first_probe: float = 0.5
    most_probe: float = 30.0
    cap_probe: float = 60.0
    cap_consecutive: int = 50
    cap_share: float = 0.3
    cap_window: int = 200
    uncommitted: int = 256
    finish_within: float = 15.0


@dataclass
class TopicConsumer:
    """One subscription at work: its windows, its pauses and its slot in FastStream."""

    subscription: Subscription
    publisher: Publisher
    dead_letters: DeadLetters
    on_fatal: Callable[[Exception], None]
    limits: PolicyLimits = field(default_factory=PolicyLimits)
    subscriber: DefaultSubscriber | None = None
    sandbox: str | None = None

    def __post_init__(self) -> None:
        limits = self.limits
        self.topic = self.subscription.topic
        self.topic_name = name_on_kafka(self.topic.name, self.sandbox)
        self.group = group_of(self.dead_letters.service, self.topic_name)
        kinds = self.subscription.kinds
        slots = kinds.slots if kinds else {ONLY_KIND: self.subscription.concurrency}
        self.parallel = ParallelConsumer(
            self._process, self.on_fatal, slots=slots, kind_of=self._kind_of, max_uncommitted=limits.uncommitted,
            finish_within=limits.finish_within, on_assigned=REBALANCES.labels(self.group).inc,
        )  # fmt: skip
        self.pauses = {kind: DependencyPause(Backoff(limits.first_probe, limits.most_probe), self._hold_or_release) for kind in slots}
        """Of each kind of records: shut while something is away that they need."""
        self.cap = DependencyPause(Backoff(limits.cap_probe, limits.cap_probe), self._hold_or_release)
        self._show_pauses()
        self._retries = Backoff(limits.first_delay, limits.most_delay)
        self._caps: dict[TopicPartition | None, DeadLetterCap] = {}

    # ── in FastStream ───────────────────────────────────────────────────────

    def subscribe(self, broker: KafkaBroker, member_arguments: Mapping[str, Any]) -> None:
        subscriber = broker.subscriber(
            self.topic_name,
            group_id=self.group,
            ack_policy=AckPolicy.MANUAL,
            listener=self.parallel,
            parser=_unread,
            decoder=_body,
            title=self.group,
            **member_arguments,
        )
        subscriber(self._call)
        subscriber.consume_one = self.parallel.take
        self.subscriber = subscriber

    def started(self) -> None:
        """The broker has made the consumer."""
        assert self.subscriber is not None
        assert self.subscriber.consumer is not None
        self.parallel.use(self.subscriber.consumer)

    async def _call(self, envelope: Envelope[Any]) -> Outcome:
        return await self.subscription.handle(envelope)

    def _kind_of(self, record: ConsumerRecord) -> str:
        """An unreadable record becomes a dead letter among any of them."""
        kinds = self.subscription.kinds
        if kinds is None:
            return ONLY_KIND
        try:
            return kinds.of(decode(self.topic, record).event)
        except UnreadableRecordError:
            return next(iter(kinds.slots))

    async def _process(self, delivery: Delivery) -> None:
        assert self.subscriber is not None
        await self.subscriber.process_message(delivery)

    # ── the policy ──────────────────────────────────────────────────────────

    async def work(self, delivery: Delivery, handle: Handle) -> None:
        """Returns when the record may be committed. Raises `PartitionTakenError` when it may not, `FatalError` to stop the service."""
        record = delivery.record
        if is_tombstone(self.topic, record):
            return
        with consuming(self.topic.name, traceparent_of(record), service=self.dead_letters.service, partition=record.partition, offset=record.offset):
            await self._work(delivery, handle)

    async def _work(self, delivery: Delivery, handle: Handle) -> None:
        while True:
            async with delivery.interruptible():
                probes = await self.cap.turn()
            hopeless = await self._try(delivery, handle)
            if hopeless is None:
                self._note_success(delivery, probes_cap=probes)
                return
            if probes or self.cap.reason is None:
                await self._set_aside(delivery, hopeless)
                return
            # The cap was reached while this one was at work: it goes again, as a probe, when it is its turn.

    async def _try(self, delivery: Delivery, handle: Handle) -> _HopelessError | None:
        """None when the effect is there and its events are published."""
        try:
            envelope = decode(self.topic, delivery.record)
            with about(envelope.event), within_replay(envelope.replay):
                await self._publish(delivery, envelope, await self._handle(delivery, envelope, handle))
        except UnreadableRecordError as flaw:
            return _HopelessError(flaw, 0)
        except _HopelessError as hopeless:
            return hopeless
        return None

    async def _handle(self, delivery: Delivery, envelope: Envelope[Any], handle: Handle) -> Outcome:
        attempts = 0
        while True:
            async with delivery.interruptible():
                await self.pauses[delivery.kind].turn()
            try:
                outcome = await handle(envelope)
            except DependencyDownError as down:
                await self._depend(delivery, down)
            except FatalError:
                raise
            except (InvalidMessageError, InvalidHeadersError, ValidationError) as flaw:
                raise _HopelessError(flaw, attempts + 1) from flaw
            except Exception as fault:  # noqa: BLE001 - a bug of ours is tried again like a passing fault
                attempts += 1
                await self._try_again(delivery, fault, attempts)
            else:
                self.pauses[delivery.kind].open()
                return outcome

    async def _try_again(self, delivery: Delivery, fault: Exception, attempts: int) -> None:
        if attempts >= self.limits.attempts:
            raise _HopelessError(fault, attempts) from fault
        RETRIES.labels(self.topic.name, reason_of(fault)).inc()
        log.warning("record.retried", topic=self.topic.name, offset=delivery.record.offset, attempts=attempts, reason=reason_of(fault), error=str(fault))
        async with delivery.interruptible():
            await asyncio.sleep(self._retries.delay(attempts))

    async def _publish(self, delivery: Delivery, envelope: Envelope[Any], outcome: Outcome) -> None:
        events = [] if outcome is None else [outcome] if isinstance(outcome, Event) else list(outcome)
        for event in events:
            topic = topic_of(event)
            if topic not in self.subscription.publishes:
                fault = UndeclaredEventError(self.subscription, event)
                raise _HopelessError(fault, 1) from fault
            event_id = derived_id(envelope.id, event.type, topic.key(event))
            await self._until_kafka_takes_it(delivery, partial(self.publisher.publish, event, event_id=event_id))

    async def _until_kafka_takes_it(self, delivery: Delivery, send: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await send()
            except DependencyDownError as down:
                await self._depend(delivery, down)
            except InvalidMessageError as flaw:
                raise _HopelessError(flaw, 1) from flaw
            else:
                self.pauses[delivery.kind].open()
                return
            async with delivery.interruptible():
                await self.pauses[delivery.kind].turn()

    async def _depend(self, delivery: Delivery, down: DependencyDownError) -> None:
        """Where a kind of records is there for the dependency, this one waits among those, and its own kind goes on."""
        RETRIES.labels(self.topic.name, down.reason).inc()
        kind = down.dependency if down.dependency in self.pauses else delivery.kind
        self.pauses[kind].shut(str(down), retry_after=down.retry_after)
        if kind != delivery.kind:
            async with delivery.interruptible():
                await delivery.acquire_slot(kind)

    # ── dead letters and their cap ──────────────────────────────────────────

    async def _set_aside(self, delivery: Delivery, hopeless: _HopelessError) -> None:
        record, fault = delivery.record, hopeless.fault
        await self._until_kafka_takes_it(delivery, lambda: self.dead_letters.set_aside(self.topic, record, fault, hopeless.attempts))
        for cap in self._caps_of(delivery):
            cap.note(failed=True)
            if cap.reached:
                self.cap.shut(f"dead-letter cap reached on {self.topic.name}, partition {record.partition}: the last was {reason_of(fault)}")

    def _note_success(self, delivery: Delivery, *, probes_cap: bool) -> None:
        for cap in self._caps_of(delivery):
            cap.note(failed=False)
        if probes_cap:
            self._caps.clear()
            self.cap.open()

    def _caps_of(self, delivery: Delivery) -> list[DeadLetterCap]:
        """That of the partition, and one of the whole subscription: with 24 partitions a bad deploy would drain 24 caps."""
        limits = self.limits
        return [
            self._caps.setdefault(scope, DeadLetterCap(limits.cap_consecutive, limits.cap_share, limits.cap_window))
            for scope in (delivery.window.partition, None)
        ]

    def _hold_or_release(self) -> None:
        self._show_pauses()
        # While one kind gets on, the partitions stay open for it: what waits of the others is bounded by the window.
        self.parallel.hold(not self.cap.is_open() or not any(pause.is_open() for pause in self.pauses.values()))

    def _show_pauses(self) -> None:
        for cause, pauses in (("dead-letter-cap", [self.cap]), ("dependency", list(self.pauses.values()))):
            CONSUMER_PAUSED.labels(self.topic.name, self.group, cause).set(not all(pause.is_open() for pause in pauses))

    @property
    def paused_for(self) -> str | None:
        """Why no record is worked on, or none of a kind; else None."""
        return self.cap.reason or next((pause.reason for pause in self.pauses.values() if pause.reason), None)


class ConsumerPolicy:
    """The middleware's factory: FastStream calls it for each record."""

    def __init__(self) -> None:
        self.topic_consumers: dict[str, TopicConsumer] = {}

    def __call__(self, delivery: Delivery | None, *, context: Any) -> BaseMiddleware[Any, Any]:
        return _PolicyMiddleware(delivery, context=context, topic_consumers=self.topic_consumers)


class _PolicyMiddleware(BaseMiddleware[Any, Any]):
    def __init__(self, delivery: Delivery | None, /, *, context: Any, topic_consumers: Mapping[str, TopicConsumer]) -> None:
        super().__init__(delivery, context=context)
        self._topic_consumers = topic_consumers

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
        delivery: Delivery = self.msg

        async def handle(envelope: Envelope[Any]) -> Outcome:
            msg.body = envelope
            msg.clear_cache()
            outcome: Outcome = await call_next(msg)
            return outcome

        await self._topic_consumers[delivery.record.topic].work(delivery, handle)


async def _unread(delivery: Delivery) -> KafkaMessage:
    """FastStream's message around a record that nobody has parsed yet."""
    return KafkaMessage(raw_message=delivery.record, body=None, consumer=FAKE_CONSUMER)


async def _body(message: KafkaMessage) -> Any:
    return message.body
