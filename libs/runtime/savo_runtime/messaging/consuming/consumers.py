"""All Kafka consumers of one service: their start, stop and health, and the error that must stop the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.messaging.consuming.dead_letters import DeadLetters
from savo_runtime.messaging.consuming.policy import PolicyLimits
from savo_runtime.messaging.consuming.readiness import ConsumerReadiness, UnhealthyError
from savo_runtime.messaging.consuming.snapshots import SnapshotReader
from savo_runtime.messaging.consuming.subscriptions import Snapshot, Subscription
from savo_runtime.messaging.consuming.topic_consumer import TopicConsumer
from savo_runtime.messaging.kafka.client_arguments import make_broker, member_arguments
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.timing.availability import until_available
from savo_runtime.timing.clock import utc_now

__all__ = ["Consumers"]

log = structlog.get_logger()

CONNECT_WITHIN = 60.0
LEAVE_WITHIN = 5.0


class Consumers:
    """Runs every subscription and every snapshot of one service.

    `fatal` is set when the service must stop; `error` is then the reason.

    Raises `ValueError` for a topic with two handlers.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        service: str,
        publisher: Publisher,
        subscriptions: Sequence[Subscription] = (),
        snapshots: Sequence[Snapshot] = (),
        *,
        limits: PolicyLimits | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        _check_one_handler_a_topic(subscriptions)
        self.fatal = asyncio.Event()
        self.error: Exception | None = None
        self._settings = settings
        self._service = service
        self._subscriptions = subscriptions
        self._publisher = publisher
        self._dead_letters = DeadLetters(publisher, service, clock)
        self._limits = limits or PolicyLimits()
        self._snapshots = [SnapshotReader(settings, snapshot, self._fail) for snapshot in snapshots]
        self._broker: KafkaBroker | None = None
        self._topic_consumers: list[TopicConsumer] = []
        self._readiness = ConsumerReadiness([])
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Create missing topics, then consume.

        Raises `DependencyDownError("kafka")` after a minute without Kafka, `FatalError` when Kafka refuses.
        """
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await until_available(self._make_topics, within=None, on=(KafkaError, OSError, DependencyDownError))
                await until_available(self._connect, within=None, on=(KafkaError, OSError))
        except TimeoutError as error:
            await self.stop()
            raise self._no_answer() from error
        self._readiness = ConsumerReadiness(self._topic_consumers)
        for work in (self._readiness.run(), *(snapshot.run() for snapshot in self._snapshots)):
            self._tasks.append(asyncio.create_task(self._guard(work)))

    async def stop(self) -> None:
        """Accept no more records, finish running handlers (at most 15 s), commit, leave the groups."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(
            *self._tasks,
            *(topic_consumer.parallel.stop() for topic_consumer in self._topic_consumers),
            return_exceptions=True,
        )
        self._tasks.clear()
        await self._disconnect()

    async def check(self) -> None:
        """Raises `UnhealthyError` while a consumer makes no progress or a snapshot has not been read to its end."""
        if self.error:
            raise UnhealthyError(str(self.error))
        behind = [snapshot.topic.name for snapshot in self._snapshots if not snapshot.caught_up.is_set()]
        if behind:
            raise UnhealthyError(f"snapshot of {', '.join(behind)} is still being read")
        self._readiness.check()

    async def _make_topics(self) -> None:
        await ensure_topics(self._settings)

    async def _connect(self) -> None:
        await self._disconnect()  # a failed attempt may have left connections open
        self._broker = make_broker(self._settings, self._service)
        self._topic_consumers = [
            TopicConsumer(
                subscription,
                self._publisher,
                self._dead_letters,
                self._fail,
                self._limits,
                sandbox=self._settings.sandbox,
            )
            for subscription in self._subscriptions
        ]
        for topic_consumer in self._topic_consumers:
            topic_consumer.subscribe(self._broker, member_arguments(self._settings, topic_consumer.topic.name))
        await self._broker.start()
        for topic_consumer in self._topic_consumers:
            topic_consumer.started()

    async def _disconnect(self) -> None:
        if self._broker is not None:
            # If Kafka does not receive the leave request, the group drops the member when its session times out.
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(LEAVE_WITHIN):
                    await self._broker.stop()
        self._broker = None

    def _no_answer(self) -> Exception:
        if self._settings.embedded_broker:
            return FatalError(
                f"{self._service} could not join its groups on the embedded broker: it allows one replica of each"
                " service. Stop the other replica, or set SAVO_KAFKA_BOOTSTRAP_SERVERS to a real Kafka"
            )
        return DependencyDownError(
            "kafka", f"no answer from {self._settings.kafka_bootstrap_servers} in {CONNECT_WITHIN:g} s"
        )

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - otherwise the loop would end without a trace
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            log.critical("consumer.failed", service=self._service, error=str(error), exc_info=error)
            self.error = error
        for topic_consumer in self._topic_consumers:
            topic_consumer.parallel.pause_all(True)
        self.fatal.set()


def _check_one_handler_a_topic(subscriptions: Sequence[Subscription]) -> None:
    names = [subscription.topic.name for subscription in subscriptions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"two handlers of {', '.join(sorted(twice))}: a service subscribes to a topic once. Do both in one handler"
        )
