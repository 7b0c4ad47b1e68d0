"""Decision worker: decides after new evidence, then updates aliases and metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from savo_contracts.rollout import RolloutState
from savo_rollout.aliases import Aliases, aliases_of
from savo_rollout.errors import StaleStateError
from savo_rollout.rollout import Rollout
from savo_rollout.state import Trial
from savo_runtime.telemetry.metrics import MODEL_INFO, ROLLOUT_SHARE, ROLLOUT_STATE

__all__ = ["PAUSE_SECONDS", "DecisionWorker"]

PAUSE_SECONDS = 0.25
"""At most four decisions a second: a negligible load, and much faster than the 5 s that a breach may last."""

_IDLE_SECONDS = 5.0
"""Longest time without a decision. Some steps depend on time alone, and other replicas record evidence too."""


class DecisionWorker:
    """Calls `Rollout.decide` when `new_evidence` is set, and updates aliases and gauges after each change of state."""

    def __init__(self, rollout: Rollout, aliases: Aliases, new_evidence: asyncio.Event) -> None:
        self._rollout = rollout
        self._aliases = aliases
        self._new_evidence = new_evidence
        self._aligned = -1
        self._labelled_models: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Wait for new evidence, at most five seconds, then decide.

        The runtime restarts the worker with back-off after an error.
        """
        await self._wait()
        await self.decide()

    async def decide(self) -> None:
        """Decide once. Update aliases and gauges if the state changed since the last call."""
        try:
            trial = await self._rollout.decide()
        except StaleStateError:
            self._new_evidence.set()
            return
        if trial.sequence != self._aligned:
            await self._aliases.align(trial)
            self._set_gauges(trial)
            self._aligned = trial.sequence

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._new_evidence.wait()
        self._new_evidence.clear()

    def _set_gauges(self, trial: Trial) -> None:
        ROLLOUT_SHARE.set(trial.in_effect.share)
        for state in RolloutState:
            ROLLOUT_STATE.labels(state.value).set(state is trial.in_effect.state)
        now = {(alias.version, alias.alias) for alias in aliases_of(trial) if alias.version}
        for removed in self._labelled_models - now:
            MODEL_INFO.remove(*removed)
        for version, alias in now:
            MODEL_INFO.labels(version=version, alias=alias).set(1)
        self._labelled_models = now
