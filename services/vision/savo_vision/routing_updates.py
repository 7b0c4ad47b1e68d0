"""From `rollout.changed` to the routing in force, with the models for it in place first.

A share that falls to nothing, or a change whose models are here, is in force at once: a breach must not wait for a download. A change
that needs a model comes into force when the model is loaded, or refused, so that no scan waits for a swap: until then the champion is who
it was. The very first one comes into force at once, and scans wait for its models: after a restart people stay in their arm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import MODEL_INFO, ROLLOUT_SHARE
from savo_vision.model_slot import ModelSlot
from savo_vision.routing import Router

__all__ = ["Steering"]

log = structlog.get_logger()

RETRY_SECONDS = 5.0


class Steering:
    """`own_path` is the operator's model, loaded beside the rollout's; `sleep` is injected for tests."""

    def __init__(
        self,
        router: Router,
        slot: ModelSlot,
        *,
        own_path: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.router = router
        self.slot = slot
        self.own_path = own_path if router.policy.use_custom else None
        self._sleep = sleep
        self._newest: RolloutChanged | None = None
        self._changed = asyncio.Event()
        if self.own_path:
            slot.expect(self.own_path)
            self._changed.set()

    def take(self, decision: RolloutChanged) -> None:
        """A stale or repeated decision changes nothing."""
        if self._newest is not None and decision.sequence <= self._newest.sequence:
            return
        self._newest = decision
        self.slot.expect(*(ref.version for ref in self._wanted(decision)))
        in_force = self.router.decision
        if in_force is None or all(self.slot.holds(ref.version) for ref in self._wanted(decision)):
            self._adopt(decision)
        elif decision.share == 0:
            self._adopt(decision.model_copy(update={"champion": in_force.champion}))
        self._changed.set()

    async def run(self) -> None:
        """The worker: brings models in whenever the decision changed; the store being away is waited out."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.settle()
            except DependencyDownError as down:
                log.warning("model.load_delayed", reason=str(down))
                await self._sleep(RETRY_SECONDS)
                self._changed.set()

    async def settle(self) -> None:
        """Bring in what the newest decision needs, put it in force, drop the rest."""
        decision = self._newest
        own = await self.slot.bring_named(self.own_path) if self.own_path else None
        if own:
            self.router.own_version = own.version
        wanted = self._wanted(decision) if decision else []
        for ref in wanted:
            loaded = await self.slot.bring(ref)
            if loaded and decision and ref == decision.champion:
                self.slot.champion = loaded
        if decision is not None and decision is self._newest:
            if decision.champion is None:
                self.slot.champion = None
            self._adopt(decision)
            self.slot.keep_only([ref.version for ref in wanted] + ([own.version] if own else []))

    def _wanted(self, decision: RolloutChanged) -> list[ModelRef]:
        if not self.router.policy.use_custom:
            return []
        return [ref for ref in (decision.champion, decision.candidate) if ref is not None]

    def _adopt(self, decision: RolloutChanged) -> None:
        if not self.router.adopt(decision):
            return
        ROLLOUT_SHARE.set(self.router.share)
        MODEL_INFO.clear()
        for alias, version in (("champion", self.router.champion), ("challenger", self.router.candidate)):
            if version:
                MODEL_INFO.labels(version, alias).set(1)
        log.info(
            "rollout.applied", sequence=decision.sequence, experiment=self.router.candidate, share=self.router.share
        )
