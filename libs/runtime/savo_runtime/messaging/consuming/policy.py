"""What becomes of one record, the same in all services.

    record ──► readable? ──no───────────────────────────────────► dead letter ──► commit
                  │ yes
               handler ──RetryableError, a bug──► again, 3 times in all ──► dead letter ──► commit
                  │     ──DependencyDownError───► records of its kind wait, this one probes until the dependency is back
                  │     ──InvalidMessageError───► dead letter ──► commit
                  │     ──FatalError────────────► the service stops, uncommitted
               publish what it returned, under derived ids; tried again until acknowledged, the handler is not called again
                  │
               commit

`RecordPolicy.process` is this drawing, top to bottom. When it is a record's turn, and that its offset is committed after the policy returned,
is `ParallelConsumer`'s part; how records come from Kafka is `TopicConsumer`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError

from savo_contracts.envelope import Envelope, Event, InvalidHeadersError, derived_id
from savo_contracts.topics import topic_of
from savo_runtime.errors import DependencyDownError, FatalError, InvalidMessageError
from savo_runtime.messaging.consuming.dead_letter_cap import DeadLetterCaps
from savo_runtime.messaging.consuming.dead_letters import DeadLetters, reason_of
from savo_runtime.messaging.consuming.deliveries import Delivery
from savo_runtime.messaging.consuming.dependency_pause import DependencyPause
from savo_runtime.messaging.consuming.records import UnreadableRecordError, decode, is_tombstone
from savo_runtime.messaging.consuming.subscriptions import Outcome, Subscription
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.messaging.replay_mark import within_replay
from savo_runtime.messaging.tracing import consumer_span, scan_log_context, traceparent_of
from savo_runtime.telemetry.metrics import RETRIES
from savo_runtime.timing.backoff import Backoff

__all__ = ["PolicyLimits", "RecordPolicy", "UndeclaredEventError"]

log = structlog.get_logger()


class UndeclaredEventError(InvalidMessageError):
    """A handler returned an event that it does not declare with `@publishes`: a bug of ours, which no retry mends."""

    def __init__(self, subscription: Subscription, event: Event) -> None:
        declared = ", ".join(topic.name for topic in subscription.publishes) or "nothing"
        super().__init__(
            f"the handler of {subscription.topic.name} returned {type(event).__name__}, which goes to {topic_of(event).name}; it publishes {declared}",
            reason="undeclared-event",
        )


class _UnprocessableError(Exception):
    """The record becomes a dead letter: why, and after how many calls of its handler."""

    def __init__(self, cause: Exception, attempts: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.attempts = attempts


@dataclass(frozen=True)
class PolicyLimits:
    """Seconds and counts of the policy. Tests make them small."""

    attempts: int = 3
    """Calls of a handler that fails."""
    first_delay: float = 0.5
    most_delay: float = 10.0
    """Between two calls."""
    first_probe: float = 0.5
    most_probe: float = 30.0
    """Between two probes of a dependency that is down."""
    cap_probe: float = 60.0
    """Between two probes at the dead-letter cap."""
    cap_consecutive: int = 50
    cap_share: float = 0.3
    cap_window: int = 200
    """The dead-letter cap, see `DeadLetterCap`."""
    uncommitted: int = 256
    """Records of one partition."""
    finish_within: float = 15.0
    """For what is at work when its partition is revoked or the service stops."""


class RecordPolicy:
    """Processes the records of one subscription. `kinds` are those of its records; `on_pause_change` is called when a pause begins or ends."""

    def __init__(
        self,
        subscription: Subscription,
        publisher: Publisher,
        dead_letters: DeadLetters,
        limits: PolicyLimits,
        kinds: Iterable[str],
        on_pause_change: Callable[[], None],
    ) -> None:
        self.pauses = {
            kind: DependencyPause(Backoff(limits.first_probe, limits.most_probe), on_pause_change) for kind in kinds
        }
        """Of each kind of records: active while a dependency is down that they need."""
        self.cap = DependencyPause(Backoff(limits.cap_probe, limits.cap_probe), on_pause_change)
        """Active since the dead-letter cap was reached, until a record succeeds."""
        self._subscription = subscription
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._attempts = limits.attempts
        self._retries = Backoff(limits.first_delay, limits.most_delay)
        self._caps = DeadLetterCaps(limits.cap_consecutive, limits.cap_share, limits.cap_window)

    @property
    def paused_for(self) -> str | None:
        """Why no record is worked on, or none of a kind; else None."""
        return self.cap.reason or next((pause.reason for pause in self.pauses.values() if pause.reason), None)

    async def process(self, delivery: Delivery) -> None:
        """Returns when the record is done: its effect and its events are there, or it is a dead letter.

        Raises `PartitionRevokedError` when the partition is gone meanwhile, `FatalError` to stop the service; then nothing may be committed.
        """
        topic, record = self._subscription.topic, delivery.record
        if is_tombstone(topic, record):
            return
        with consumer_span(
            topic.name,
            traceparent_of(record),
            service=self._dead_letters.service,
            partition=record.partition,
            offset=record.offset,
        ):
            while True:
                is_probe = await self._wait_turn(delivery, self.cap)
                try:
                    envelope = decode(topic, record)
                    with scan_log_context(envelope.event), within_replay(envelope.replay):
                        outcome = await self._handle(delivery, envelope)
                        await self._publish(delivery, envelope, outcome)
                except UnreadableRecordError as error:
                    failure = _UnprocessableError(error, attempts=0)
                except _UnprocessableError as error:
                    failure = error
                else:
                    self._note_success(delivery, is_probe=is_probe)
                    return
                if is_probe or not self.cap.is_active():
                    await self._set_aside(delivery, failure)
                    return
                # The cap was reached while this record was at work: it is tried again as a probe, when it is its turn.

    # ── the handler ─────────────────────────────────────────────────────────

    async def _handle(self, delivery: Delivery, envelope: Envelope[Any]) -> Outcome:
        """Wait while a dependency is down, call the handler, call it again a bounded number of times where it fails."""
        failures = 0
        while True:
            await self._wait_turn(delivery, self.pauses[delivery.kind])
            try:
                outcome = await self._subscription.handle(envelope)
            except DependencyDownError as down:
                await self._pause(delivery, down)
            except FatalError:
                raise
            except (InvalidMessageError, InvalidHeadersError, ValidationError) as error:
                raise _UnprocessableError(error, failures + 1) from error
            except Exception as error:  # noqa: BLE001 - a bug of ours is tried again like a passing fault
                failures += 1
                await self._wait_before_retry(delivery, error, failures)
            else:
                self.pauses[delivery.kind].end()
                return outcome

    async def _wait_before_retry(self, delivery: Delivery, error: Exception, failures: int) -> None:
        if failures >= self._attempts:
            raise _UnprocessableError(error, failures) from error
        topic, reason = self._subscription.topic.name, reason_of(error)
        RETRIES.labels(topic, reason).inc()
        log.warning(
            "record.retried",
            topic=topic,
            offset=delivery.record.offset,
            attempts=failures,
            reason=reason,
            error=str(error),
        )
        async with delivery.interruptible():
            await asyncio.sleep(self._retries.delay(failures))

    async def _wait_turn(self, delivery: Delivery, pause: DependencyPause) -> bool:
        """Whether the record goes as a probe."""
        async with delivery.interruptible():
            return await pause.wait_turn()

    async def _pause(self, delivery: Delivery, down: DependencyDownError) -> None:
        """Begin the pause of the record's kind. Where the dependency has a kind of its own, the record joins that one, and its former kind goes on."""
        RETRIES.labels(self._subscription.topic.name, down.reason).inc()
        kind = down.dependency if down.dependency in self.pauses else delivery.kind
        self.pauses[kind].begin(str(down), retry_after=down.retry_after)
        if kind != delivery.kind:
            async with delivery.interruptible():
                await delivery.acquire_slot(kind)

    # ── its events ──────────────────────────────────────────────────────────

    async def _publish(self, delivery: Delivery, envelope: Envelope[Any], outcome: Outcome) -> None:
        """Each event under an id that follows from the record's, so that a repeat is recognised."""
        events = [] if outcome is None else [outcome] if isinstance(outcome, Event) else list(outcome)
        for event in events:
            topic = topic_of(event)
            if topic not in self._subscription.publishes:
                error = UndeclaredEventError(self._subscription, event)
                raise _UnprocessableError(error, attempts=1) from error
            event_id = derived_id(envelope.id, event.type, topic.key(event))
            await self._until_acknowledged(delivery, partial(self._publisher.publish, event, event_id=event_id))

    async def _until_acknowledged(self, delivery: Delivery, send: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await send()
            except DependencyDownError as down:
                await self._pause(delivery, down)
            except InvalidMessageError as error:
                raise _UnprocessableError(error, attempts=1) from error
            else:
                self.pauses[delivery.kind].end()
                return
            await self._wait_turn(delivery, self.pauses[delivery.kind])

    # ── the end ─────────────────────────────────────────────────────────────

    def _note_success(self, delivery: Delivery, *, is_probe: bool) -> None:
        self._caps.note(delivery.window.partition, failed=False)
        if is_probe:
            self._caps.clear()
            self.cap.end()

    async def _set_aside(self, delivery: Delivery, failure: _UnprocessableError) -> None:
        """Publish the record as a dead letter, however long that takes; pause where too many became one."""
        topic, record, cause = self._subscription.topic, delivery.record, failure.cause
        await self._until_acknowledged(
            delivery, lambda: self._dead_letters.set_aside(topic, record, cause, failure.attempts)
        )
        if self._caps.note(delivery.window.partition, failed=True):
            self.cap.begin(
                f"dead-letter cap reached on {topic.name}, partition {record.partition}: the last was {reason_of(cause)}"
            )
