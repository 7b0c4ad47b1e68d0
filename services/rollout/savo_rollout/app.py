"""Composition root of the rollout service."""

from __future__ import annotations

import asyncio

from savo_rollout.adapters.http import rollout_app
from savo_rollout.adapters.projection import PROJECTION
from savo_rollout.adapters.repository import SqlRepository
from savo_rollout.aliases import Aliases
from savo_rollout.decision_worker import PAUSE_SECONDS, DecisionWorker
from savo_rollout.evidence_recorder import EvidenceRecorder
from savo_rollout.gates import GatePolicy
from savo_rollout.handlers import subscriptions
from savo_rollout.operator_commands import StartSettings
from savo_rollout.registry import Registry
from savo_rollout.rollout import Rollout
from savo_rollout.settings import RolloutSettings
from savo_rollout.steps import StepPolicy
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker


def step_policy(settings: RolloutSettings) -> StepPolicy:
    """The policy that the settings configure."""
    return StepPolicy(settings.min_confirmed, settings.min_days_per_step, GatePolicy(settings.targets, settings.alpha))


def build(settings: RolloutSettings, runtime: Runtime) -> Service:
    new_evidence = asyncio.Event()
    start_settings = StartSettings(settings.use_custom_vision, settings.pinned_share, settings.custom_vision_model_path)
    repository, policy = SqlRepository(runtime.database, runtime.outbox), step_policy(settings)
    rollout = Rollout(repository, Registry(runtime.store), policy, start_settings, runtime.clock, new_evidence.set)
    worker = DecisionWorker(rollout, Aliases(runtime.store), new_evidence)
    return Service(
        name="rollout",
        subscriptions=subscriptions(rollout, EvidenceRecorder(repository, policy.gates, new_evidence.set)),
        app=rollout_app(rollout),
        workers=[Worker("decisions", worker.run, every=PAUSE_SECONDS)],
        exports_group_lag=True,
        on_start=[rollout.start],
    )


DEFINITION = ServiceDefinition(
    "rollout",
    RolloutSettings,
    build,
    migrations="savo_rollout.migrations",
    projection=PROJECTION,
)
