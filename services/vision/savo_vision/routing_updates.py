"""Routing updates: `rollout.changed` events become the routing in force once their models are loaded.

A change applies at once when its share is 0 or its models are loaded already: a breach must not wait for a download.
Any other change applies when its models are loaded or refused, so that no scan waits for a swap. Until then the
previous champion serves. The first change after a start applies at once and scans wait for its models, so that a
restart moves no subject to another arm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import MODEL_INFO, ROLLOUT_SHARE
from savo_vision.loaded_models import LoadedModels
from savo_vision.routing import Router

__all__ = ["RoutingUpdates"]

log = structlog.get_logger()

RETRY_SECONDS = 5.0


class RoutingUpdates:
    """Receives rollout decisions, loads their models and updates the `Router`.

    `operator_model_path` names the operator's model, which is loaded beside the rollout's models.
    """

    def __init__(
        self,
        router: Router,
        loaded_models: LoadedModels,
        *,
        operator_model_path: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.router = router
        self.loaded_models = loaded_models
        self.operator_model_path = operator_model_path if router.policy.use_custom else None
        self._sleep = sleep
        self._newest: RolloutChanged | None = None
        self._changed = asyncio.Event()
        if self.operator_model_path:
            loaded_models.expect(self.operator_model_path)
            self._changed.set()

    def receive(self, decision: RolloutChanged) -> None:
        """Apply a decision if it needs no new model, otherwise schedule it. A stale or repeated one changes nothing."""
        if self._newest is not None and decision.sequence <= self._newest.sequence:
            return
        self._newest = decision
        self.loaded_models.expect(*(ref.version for ref in self._models_of(decision)))
        in_force = self.router.decision
        if in_force is None or all(self.loaded_models.holds(ref.version) for ref in self._models_of(decision)):
            self._adopt(decision)
        elif decision.share == 0:
            self._adopt(decision.model_copy(update={"champion": in_force.champion}))
        self._changed.set()

    async def run(self) -> None:
        """Load models after each change of the decision, for ever. Retries while the model store is down."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.apply_newest()
            except DependencyDownError as down:
                self._log_delay(down)
                await self._sleep(RETRY_SECONDS)
                self._changed.set()

    async def apply_newest(self) -> None:
        """Load the models of the newest decision, put it in force and unload all other models.

        Raises `DependencyDownError` when the model store is down.
        """
        decision = self._newest
        operator_model = (
            await self.loaded_models.load_from_path(self.operator_model_path) if self.operator_model_path else None
        )
        if operator_model:
            self.router.operator_model_version = operator_model.version
        models = self._models_of(decision) if decision else []
        for ref in models:
            loaded = await self.loaded_models.load_registered(ref)
            if loaded and decision and ref == decision.champion:
                self.loaded_models.champion = loaded
        if decision is not None and decision is self._newest:
            if decision.champion is None:
                self.loaded_models.champion = None
            self._adopt(decision)
            self.loaded_models.keep_only(
                [ref.version for ref in models] + ([operator_model.version] if operator_model else [])
            )

    def _models_of(self, decision: RolloutChanged) -> list[ModelRef]:
        if not self.router.policy.use_custom:
            return []
        return [ref for ref in (decision.champion, decision.candidate) if ref is not None]

    def _log_delay(self, down: DependencyDownError) -> None:
        decision = self._newest
        log.warning(
            "model.load_delayed",
            sequence=decision.sequence if decision else None,
            versions=[ref.version for ref in self._models_of(decision)] if decision else [],
            error=str(down),
            retry_seconds=RETRY_SECONDS,
        )

    def _adopt(self, decision: RolloutChanged) -> None:
        if not self.router.adopt(decision):
            return
        ROLLOUT_SHARE.set(self.router.share)
        MODEL_INFO.clear()
        for alias, version in (("champion", self.router.champion), ("challenger", self.router.candidate)):
            if version:
                MODEL_INFO.labels(version, alias).set(1)
        log.info(
            "rollout.applied",
            sequence=decision.sequence,
            champion=self.router.champion,
            candidate=self.router.candidate,
            share=self.router.share,
        )
