"""Topic registry: every Kafka topic with its event, key, producers, consumers and retention.

`docs/flow.md` and `docs/asyncapi.json` are generated from it, and the broker's topics are created from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic

from savo_contracts.audit import AuditRecorded
from savo_contracts.envelope import E, Event
from savo_contracts.models import ModelRefused, ModelRegistered
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.rollout import RolloutChanged
from savo_contracts.samples import BoxesProposed, SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanCompleted, ScanConfirmed, ScanErased, ScanFailed, ScanRequested
from savo_contracts.training import TrainingFinished, TrainingThresholdReached
from savo_contracts.users import ConsentChanged, SubjectErased


class Retention(StrEnum):
    """How long Kafka keeps a topic's records."""

    MONTH = "30 days"
    FOREVER = "for ever"
    COMPACT = "compacted: the newest record of each key"


@dataclass(frozen=True)
class Topic(Generic[E]):
    """A Kafka topic: its event, key, producers, consumers, number of partitions and retention."""

    name: str
    event: type[E]
    key: Callable[[E], str] = field(repr=False)
    key_name: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int = 24
    retention: Retention = Retention.MONTH
    planned: bool = False
    """Whether the topic is unused so far: no service publishes its events yet. `tests/house/` checks the flag."""
    trace_label: str | None = None
    """Name of its publication in `savo trace`; None when the event is not about a scan."""

    def dead_letters(self, service: str) -> str:
        """Name of the topic with the records that `service` could not process."""
        return f"{self.name}.{service}.dlq"


def _topic(
    name: str,
    event: type[E],
    key: str,
    producers: str,
    consumers: str,
    *,
    partitions: int = 24,
    retention: Retention = Retention.MONTH,
    planned: bool = False,
    trace_label: str | None = None,
) -> Topic[E]:
    def key_of(message: E) -> str:
        return str(getattr(message, key))

    return Topic(
        name,
        event,
        key_of,
        key,
        tuple(producers.split()),
        tuple(consumers.split()),
        partitions,
        retention,
        planned,
        trace_label,
    )


COMPACT, FOREVER = Retention.COMPACT, Retention.FOREVER

# fmt: off
SCANS_REQUESTED = _topic("scans.requested", ScanRequested, "scan_id", "gateway", "vision", trace_label="published")
SCANS_COMPLETED = _topic("scans.completed", ScanCompleted, "scan_id", "vision", "gateway rollout", trace_label="stored")
SCANS_FAILED    = _topic("scans.failed", ScanFailed, "scan_id", "vision", "gateway rollout", trace_label="failed")
SCANS_CONFIRMED = _topic("scans.confirmed", ScanConfirmed, "scan_id", "gateway cli", "collector rollout",
                         retention=COMPACT, trace_label="confirmation published")
SCANS_ERASED    = _topic("scans.erased", ScanErased, "scan_id", "gateway", "vision collector rollout reasoning",
                         retention=FOREVER, trace_label="erased", planned=True)

SAMPLES_STORED   = _topic("samples.stored", SampleStored, "sha256", "collector", "gateway trainer",
                          partitions=12, retention=FOREVER, trace_label="sampled")
SAMPLES_REJECTED = _topic("samples.rejected", SampleRejected, "sha256", "collector", "gateway vision",
                          partitions=12, retention=FOREVER, trace_label="refused as a sample")
SAMPLES_ERASED   = _topic("samples.erased", SampleErased, "sha256", "collector", "gateway trainer",
                          partitions=12, retention=FOREVER, trace_label="sample erased")
BOXES_PROPOSED   = _topic("boxes.proposed", BoxesProposed, "scan_id", "vision", "gateway",
                          partitions=12, trace_label="boxes proposed")

TRAINING_THRESHOLD_REACHED = _topic("training.threshold-reached", TrainingThresholdReached, "dataset",
                                    "collector", "trainer", partitions=1, retention=FOREVER)
TRAINING_FINISHED          = _topic("training.finished", TrainingFinished, "run_id",
                                    "trainer", "gateway", partitions=1, retention=FOREVER)

MODELS_REGISTERED = _topic("models.registered", ModelRegistered, "version", "trainer", "rollout gateway",
                           partitions=1, retention=COMPACT)
MODELS_REFUSED    = _topic("models.refused", ModelRefused, "version", "vision", "rollout",
                           partitions=1, retention=FOREVER)
ROLLOUT_CHANGED   = _topic("rollout.changed", RolloutChanged, "target", "rollout", "vision gateway",
                           partitions=1, retention=COMPACT)

RECIPES_REQUESTED = _topic("recipes.requested", RecipesRequested, "recipe_id", "gateway", "reasoning",
                           partitions=6, trace_label="recipes asked", planned=True)
RECIPES_SUGGESTED = _topic("recipes.suggested", RecipesSuggested, "recipe_id", "reasoning", "gateway",
                           partitions=6, trace_label="recipes suggested", planned=True)

SUBJECTS_ERASED = _topic("subjects.erased", SubjectErased, "subject", "gateway", "vision collector rollout reasoning",
                         partitions=6, retention=COMPACT, planned=True)

CONSENT_CHANGED = _topic("consent.changed", ConsentChanged, "subject", "gateway", "collector",
                         partitions=6, retention=COMPACT)

AUDIT_RECORDED = _topic("audit.recorded", AuditRecorded, "about", "trainer rollout cli", "gateway",
                        partitions=1, retention=FOREVER)
# fmt: on

SERVICES = ("gateway", "vision", "collector", "trainer", "rollout", "reasoning")
TOOLS = ("cli",)
"""Producers that publish in an operator's name and read without a consumer group."""

TOPICS: tuple[Topic[Any], ...] = tuple(value for value in list(globals().values()) if isinstance(value, Topic))


def topic_named(name: str) -> Topic[Any]:
    """The topic with this name. Raises `KeyError` with the names of all topics."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise KeyError(f"no topic {name!r}; there are {', '.join(topic.name for topic in TOPICS)}")


def topic_of(event: Event) -> Topic[Any]:
    """The topic that carries events of this class."""
    return next(topic for topic in TOPICS if topic.event is type(event))


def dead_letter_topics() -> Iterator[tuple[Topic[Any], str, str]]:
    """Each topic with each of its consumers and the name of that consumer's dead-letter topic."""
    for topic in TOPICS:
        for service in topic.consumers:
            yield topic, service, topic.dead_letters(service)
