"""Record policy: decode, handle, retry, publish, dead-letter. The same rules apply in every service.

    record ──► readable? ──no───────────────────────────────────► dead letter ──► commit
                  │ yes
               handler ──RetryableError, a bug──► again, 3 calls in all ──► dead letter ──► commit
                  │     ──DependencyDownError───► records of its kind pause, this one probes until the dependency is up
                  │     ──InvalidMessageError───► dead letter ──► commit
                  │     ──FatalError────────────► the service stops, uncommitted
               publish the returned events under derived ids; repeated until acknowledged, without the handler
                  │
               commit

`RecordPolicy.process` follows this diagram from top to bottom. `ParallelConsumer` decides when a record is processed,
and commits its offset after the policy returns. `TopicConsumer` receives records from Kafka.
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
    """A handler returned an event that it does not declare with `@publishes`: a bug that no retry can fix."""

    def __init__(self, subscription: Subscription, event: Event) -> None:
        declared = ", ".join(topic.name for topic in subscription.publishes) or "nothing"
        super().__init__(
            f"the handler of {subscription.topic.name} returned {type(event).__name__}, an event of"
            f" {topic_of(event).name}, but its @publishes declares {declared}",
            reason="undeclared-event",
        )


class _UnprocessableError(Exception):
    """The record becomes a dead letter: carries the cause and the number of handler calls."""

    def __init__(self, cause: Exception, attempts: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.attempts = attempts


@dataclass(frozen=True)
class PolicyLimits:
    """Delays in seconds and counts of the policy. Tests use smaller ones."""

    attempts: int = 3
    """Calls of a handler before its record becomes a dead letter."""
    first_delay: float = 0.5
    max_delay: float = 10.0
    """Delay before the handler is called again."""
    first_probe: float = 0.5
    max_probe: float = 30.0
    """Delay between two probes of a dependency that is down."""
    cap_probe: float = 60.0
    """Delay between two probes while the dead-letter cap is reached."""
    cap_consecutive: int = 50
    cap_share: float = 0.3
    cap_window: int = 200
    """The dead-letter cap, see `DeadLetterCap`."""
    uncommitted: int = 256
    """Maximum of uncommitted records in one partition."""
    finish_within: float = 15.0
    """Time for running records to finish when their partition is revoked or the service stops."""


class RecordPolicy:
    """Processes the records of one subscription.

    `kinds` are the kinds of its records. `on_pause_change` is called whenever a pause begins or ends.
    """

    def __init__(
        self,
        subscription: Subscription,
        publisher: Publisher,
        dead_letters: DeadLetters,
        limits: PolicyLimits,
        kinds: Iterable[str],
        on_pause_change: Callable[[], None],
    ) -> None:
        topic = subscription.topic.name
        self.pauses = {
            kind: DependencyPause(
                Backoff(limits.first_probe, limits.max_probe), on_pause_change, topic=topic, kind=kind
            )
            for kind in kinds
        }
        """By kind of record: active while a dependency of that kind is down."""
        self.cap = DependencyPause(
            Backoff(limits.cap_probe, limits.cap_probe), on_pause_change, topic=topic, kind="dead-letter-cap"
        )
        """Active from when the dead-letter cap is reached until a record succeeds."""
        self._subscription = subscription
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._attempts = limits.attempts
        self._retries = Backoff(limits.first_delay, limits.max_delay)
        self._caps = DeadLetterCaps(limits.cap_consecutive, limits.cap_share, limits.cap_window)

    @property
    def paused_for(self) -> str | None:
        """Why records, or records of one kind, are paused; None when none are."""
        return self.cap.reason or next((pause.reason for pause in self.pauses.values() if pause.reason), None)

    async def process(self, delivery: Delivery) -> None:
        """Returns when the record is done: its effect is stored and its events are published, or it is a dead letter.

        Raises `PartitionRevokedError` when the partition was revoked meanwhile, and `FatalError` to stop the service.
        In both cases the record must not be committed.
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
                    await self._dead_letter(delivery, failure)
                    return
                # The cap was reached while this record was processed: it is processed again, as a probe, in its turn.

    # ── the handler ─────────────────────────────────────────────────────────

    async def _handle(self, delivery: Delivery, envelope: Envelope[Any]) -> Outcome:
        """Wait while a dependency is down, then call the handler, at most `attempts` times."""
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
            except Exception as error:  # noqa: BLE001 - a bug is retried like a transient error
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
            partition=delivery.record.partition,
            offset=delivery.record.offset,
            attempts=failures,
            max_attempts=self._attempts,
            reason=reason,
            error=str(error),
        )
        async with delivery.interruptible():
            await asyncio.sleep(self._retries.delay(failures))

    async def _wait_turn(self, delivery: Delivery, pause: DependencyPause) -> bool:
        """True when the record proceeds as a probe."""
        async with delivery.interruptible():
            return await pause.wait_turn()

    async def _pause(self, delivery: Delivery, down: DependencyDownError) -> None:
        """Begin the pause of the record's kind.

        Where a kind is named like the dependency, the record moves to that kind, and its former kind continues.
        """
        RETRIES.labels(self._subscription.topic.name, down.reason).inc()
        kind = down.dependency if down.dependency in self.pauses else delivery.kind
        self.pauses[kind].begin(str(down), retry_after=down.retry_after)
        if kind != delivery.kind:
            async with delivery.interruptible():
                await delivery.acquire_slot(kind)

    # ── published events ────────────────────────────────────────────────────

    async def _publish(self, delivery: Delivery, envelope: Envelope[Any], outcome: Outcome) -> None:
        """Publish each event under an id derived from the record's, so that consumers recognise a repeat."""
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

    # ── outcome ─────────────────────────────────────────────────────────────

    def _note_success(self, delivery: Delivery, *, is_probe: bool) -> None:
        self._caps.record(delivery.window.partition, failed=False)
        if is_probe:
            self._caps.clear()
            self.cap.end()

    async def _dead_letter(self, delivery: Delivery, failure: _UnprocessableError) -> None:
        """Publish the record as a dead letter, repeated until acknowledged; pause when the cap is reached."""
        topic, record, cause = self._subscription.topic, delivery.record, failure.cause
        await self._until_acknowledged(
            delivery, lambda: self._dead_letters.publish(topic, record, cause, failure.attempts)
        )
        if self._caps.record(delivery.window.partition, failed=True):
            place = f"{topic.name}, partition {record.partition}"
            self.cap.begin(f"dead-letter cap reached on {place}: the last reason was {reason_of(cause)}")
