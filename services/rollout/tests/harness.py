"""Harness of the rollout tests: the service in one process, with a manual clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from savo_contracts.envelope import Envelope, Event
from savo_contracts.rollout import RolloutChanged
from savo_contracts.topics import topic_of
from savo_rollout.adapters.http import rollout_app
from savo_rollout.adapters.repository import SqlRepository
from savo_rollout.aliases import Aliases
from savo_rollout.decision_worker import DecisionWorker
from savo_rollout.evidence_recorder import EvidenceRecorder
from savo_rollout.handlers import subscriptions
from savo_rollout.operator_commands import StartSettings
from savo_rollout.registry import Registry
from savo_rollout.rollout import Rollout
from savo_rollout.state import Trial
from savo_rollout.steps import StepPolicy
from savo_runtime.service import Runtime, Service
from savo_runtime.testing import FakeClock, MemoryStore, published_by_outbox


@dataclass
class Harness:
    """The service wired as in `app.build`, with a clock that tests advance."""

    runtime: Runtime
    clock: FakeClock
    rollout: Rollout
    worker: DecisionWorker
    service: Service

    async def deliver(self, event: Event, event_id: Any = None) -> None:
        envelope = Envelope.new(event, "test", event_id=event_id or uuid4(), time=self.clock())
        for subscription in self.service.subscriptions:
            if subscription.topic is topic_of(event):
                await subscription.handle(envelope)

    async def published(self) -> list[RolloutChanged]:
        return [event for event in await published_by_outbox(self.runtime) if isinstance(event, RolloutChanged)]

    async def trial(self) -> Trial:
        return await self.rollout.decide()

    @property
    def store(self) -> MemoryStore:
        assert isinstance(self.runtime.store, MemoryStore)
        return self.runtime.store

    def restarted(self, start_settings: StartSettings | None = None, policy: StepPolicy | None = None) -> Harness:
        return build_harness(
            self.runtime, self.clock, start_settings or self.rollout.start_settings, policy or self.rollout.policy
        )


def build_harness(runtime: Runtime, clock: FakeClock, start_settings: StartSettings, policy: StepPolicy) -> Harness:
    new_evidence = asyncio.Event()
    rollout = Rollout(
        SqlRepository(runtime.database, runtime.outbox),
        Registry(runtime.store),
        policy,
        start_settings,
        clock,
        new_evidence.set,
    )
    service = Service(
        name="rollout",
        subscriptions=subscriptions(rollout, EvidenceRecorder(rollout.repository, policy.gates, new_evidence.set)),
        app=rollout_app(rollout),
    )
    return Harness(runtime, clock, rollout, DecisionWorker(rollout, Aliases(runtime.store), new_evidence), service)
