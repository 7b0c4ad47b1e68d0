"""Topic consumer: one subscription, wired from FastStream, `ParallelConsumer` and `RecordPolicy`.

FastStream's subscriber connects, polls and rebalances. Its handler is `ParallelConsumer.accept`, which does not wait,
so polling continues while records are processed. Two parts of FastStream are replaced:

- Its concurrency processes one record at a time in each partition (`max_workers`) or repeats many records after a stop,
  and its acknowledgement commits the position of every partition. So acknowledgement is MANUAL, and
  `ParallelConsumer` commits.
- Its parser loses a record whose header is null or not UTF-8 before the policy gets it. So the parser passes each
  record through unparsed, and the policy decodes it.

The same mechanism serves concurrency 1 and N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.subscriber.usecase import DefaultSubscriber

from savo_runtime.messaging.consuming.dead_letters import DeadLetters
from savo_runtime.messaging.consuming.deliveries import ONLY_KIND
from savo_runtime.messaging.consuming.parallel_consumer import ParallelConsumer
from savo_runtime.messaging.consuming.policy import PolicyLimits, RecordPolicy
from savo_runtime.messaging.consuming.records import UnreadableRecordError, decode
from savo_runtime.messaging.consuming.subscriptions import Subscription
from savo_runtime.messaging.kafka.client_arguments import group_of
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.telemetry.metrics import CONSUMER_PAUSED, REBALANCES

__all__ = ["TopicConsumer"]


class TopicConsumer:
    """Consumes the topic of one subscription in the group of its service.

    `on_fatal` is called with an error that must stop the service.
    """

    def __init__(
        self,
        subscription: Subscription,
        publisher: Publisher,
        dead_letters: DeadLetters,
        on_fatal: Callable[[Exception], None],
        limits: PolicyLimits | None = None,
        *,
        sandbox: str | None = None,
    ) -> None:
        limits = limits or PolicyLimits()
        self.topic = subscription.topic
        self.topic_name = name_on_kafka(self.topic.name, sandbox)
        self.group = group_of(dead_letters.service, self.topic_name)
        self.subscriber: DefaultSubscriber | None = None
        self._kinds = subscription.kinds
        slots = subscription.kinds.slots if subscription.kinds else {ONLY_KIND: subscription.concurrency}
        self.policy = RecordPolicy(subscription, publisher, dead_letters, limits, slots, self._on_pause_change)
        self.parallel = ParallelConsumer(
            self.policy.process,
            on_fatal,
            slots=slots,
            kind_of=self._kind_of,
            max_uncommitted=limits.uncommitted,
            finish_within=limits.finish_within,
            on_assigned=REBALANCES.labels(self.group).inc,
        )
        self._set_pause_gauges()

    @property
    def consumer(self) -> AIOKafkaConsumer | None:
        """None until the broker has started."""
        return self.subscriber.consumer if self.subscriber else None

    def subscribe(self, broker: KafkaBroker, member_arguments: Mapping[str, Any]) -> None:
        """Create the subscriber. Must be called before the broker starts."""
        self.subscriber = broker.subscriber(
            self.topic_name,
            group_id=self.group,
            ack_policy=AckPolicy.MANUAL,
            listener=self.parallel,
            parser=_unparsed,
            decoder=_body,
            title=self.group,
            **member_arguments,
        )
        self.subscriber(self.parallel.accept)

    def started(self) -> None:
        """Must be called once the broker has started and created the consumer."""
        assert self.consumer is not None
        self.parallel.attach(self.consumer)

    def _kind_of(self, record: ConsumerRecord) -> str:
        """An unreadable record has the first kind: it becomes a dead letter in any of them."""
        if self._kinds is None:
            return ONLY_KIND
        try:
            return self._kinds.of(decode(self.topic, record).event)
        except UnreadableRecordError:
            return next(iter(self._kinds.slots))

    def _on_pause_change(self) -> None:
        self._set_pause_gauges()
        # Partitions stay open while any kind is processed; the window bounds the waiting records of the others.
        all_kinds_paused = all(pause.is_active() for pause in self.policy.pauses.values())
        self.parallel.pause_all(self.policy.cap.is_active() or all_kinds_paused)

    def _set_pause_gauges(self) -> None:
        for cause, pauses in (
            ("dead-letter-cap", [self.policy.cap]),
            ("dependency", list(self.policy.pauses.values())),
        ):
            CONSUMER_PAUSED.labels(self.topic.name, self.group, cause).set(any(pause.is_active() for pause in pauses))


async def _unparsed(record: ConsumerRecord) -> KafkaMessage:
    """FastStream's message around an unparsed record. Never fails."""
    return KafkaMessage(raw_message=record, body=record, consumer=FAKE_CONSUMER)


async def _body(message: KafkaMessage) -> Any:
    return message.body
