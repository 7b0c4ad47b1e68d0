"""Use cases of the rollout, each in one transaction: start, register a model, decide, apply a command, erase.

Handlers record evidence (`evidence_recorder`). A worker calls `Rollout.decide` after new evidence, at most four times a
second. So a breach reaches `rollout.changed` within a quarter of a second, with one query over grouped values, at any
rate of scans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from savo_contracts.documents import ModelReport
from savo_contracts.measures import Quantile
from savo_contracts.models import ModelRef, ModelRefused
from savo_contracts.rollout import RolloutState
from savo_contracts.scans import Arm
from savo_rollout.errors import NeedsForceError, StaleStateError
from savo_rollout.operator_commands import Command, StartSettings, apply_command, apply_start_settings
from savo_rollout.ports import Repository, Transaction
from savo_rollout.registry import Registry, model_of
from savo_rollout.report import Report
from savo_rollout.state import AUTOMATION, Trial
from savo_rollout.steps import StepPolicy, begin_queued, decide, pause_unserved, start_or_queue

__all__ = ["Rollout"]

log = structlog.get_logger()

_HISTORY = 50


@dataclass(frozen=True)
class Rollout:
    """Use cases on a `Repository`. The rules are pure functions in `steps` (evidence) and `operator_commands`.

    Each method reads the state, computes the next one, and stores it with its audit entry and its event in the same
    transaction. Several replicas may run: when another replica changes the state first, a method raises
    `StaleStateError` and is retried. Methods raise `DependencyDownError` while the database is down.
    """

    repository: Repository
    registry: Registry
    policy: StepPolicy
    start_settings: StartSettings
    clock: Callable[[], datetime]
    notify: Callable[[], None]
    """Called after a change of evidence or state, so that `decide` runs soon."""

    async def start(self) -> None:
        """Apply the settings to the stored state and publish it again, because an embedded broker starts empty."""
        async with self.repository.transaction() as transaction:
            trial = await transaction.trial() or await transaction.create_initial(Trial.initial(self.clock()))
            if changed := apply_start_settings(trial, self.start_settings, self.clock()) or self._next(trial):
                await self._store(transaction, trial, changed)
            else:
                await transaction.republish(trial)
        self.notify()

    async def register(self, model: ModelRef) -> None:
        """Begin the model's trial, or queue the model.

        It is queued until the running trial ends, SAVO_USE_CUSTOM_VISION is true and no model is pinned by its path.

        A repeated registration changes nothing.
        """
        async with self.repository.transaction() as transaction:
            trial = await self._trial(transaction)
            if not await transaction.register(model):
                return
            after = start_or_queue(trial, model, self.clock()) if self._may_begin else _with_queued(trial, model)
            await self._store(transaction, trial, after)
        self.notify()

    async def pause_refused(self, refused: ModelRefused, event_id: UUID) -> None:
        """Pause the trial of a candidate that vision refused to load. A repeated event changes nothing."""
        async with self.repository.transaction() as transaction:
            trial = await self._trial(transaction)
            paused = pause_unserved(trial, refused.version, refused.replica, refused.reason, self.clock())
            if await transaction.mark_processed(event_id) and paused:
                await self._store(transaction, trial, paused)
        self.notify()

    async def erase_scan(self, scan_id: str) -> None:
        """Remove a scan from the evidence and ignore it from now on."""
        async with self.repository.transaction() as transaction:
            await transaction.erase_scan(scan_id)

    async def erase_subject(self, subject: str) -> None:
        """Remove a subject's scans from the evidence and ignore them from now on."""
        async with self.repository.transaction() as transaction:
            await transaction.erase_subject(subject)

    async def decide(self) -> Trial:
        """Evaluate the evidence once; returns the resulting state.

        Raises `StaleStateError` when another replica or an operator changes the state meanwhile.
        """
        async with self.repository.read_only() as transaction:
            trial = await transaction.trial() or Trial.initial(self.clock())
            if trial.pin or trial.experiment is None or not trial.is_live:
                return trial
            decided = decide(trial, await transaction.evidence(trial.experiment, trial.step), self.policy, self.clock())
        if decided is None:
            return trial
        async with self.repository.transaction() as transaction:
            if await transaction.trial() != trial:
                raise StaleStateError(trial.sequence)
            return await self._store(transaction, trial, decided)

    async def report(self) -> Report:
        """Present state, evidence and history."""
        async with self.repository.read_only() as transaction:
            trial = (await transaction.trial() or Trial.initial(self.clock())).in_effect
            evidence = await transaction.evidence(trial.experiment or "", trial.step)
            for arm in Arm:
                latency_ms = await self._latencies(transaction, trial.experiment or "", arm)
                evidence[arm] = replace(evidence[arm], latency_ms=latency_ms)
            history = await transaction.history(_HISTORY)
        return Report.of(
            trial, evidence, history, self.policy, self.clock(), serving=self.start_settings.use_custom_vision
        )

    async def apply(self, command: Command) -> Trial:
        """Apply an operator's command; returns the resulting state.

        Raises `NotPossibleError`, `UnknownModelError` or `IncompleteError`, and `NeedsForceError` for a model that the
        gate or its own trial's evidence rejected.
        """
        report = await self.registry.report_of(command.wanted_version) if command.action == "promote" else None
        async with self.repository.transaction() as transaction:
            trial = await self._trial(transaction)
            if report:
                applied = await self._promote(transaction, trial, command, report)
            else:
                applied = await self._store(transaction, trial, apply_command(trial, command, self.clock()))
        self.notify()
        return applied

    async def _promote(self, transaction: Transaction, trial: Trial, command: Command, report: ModelReport) -> Trial:
        """Promote a version. Idempotent; a later `models.registered` of the version begins no trial."""
        objection = await self._objection(transaction, report)
        if objection and not command.force:
            command_line = f"savo models promote {report.version} --force"
            raise NeedsForceError(f"{objection}. `{command_line}` promotes it nevertheless")
        reason = f"{command.reason} (by force: {objection})" if objection else command.reason
        promoted = apply_command(trial, command.model_copy(update={"reason": reason}), self.clock(), model_of(report))
        if promoted is trial:
            return trial
        await transaction.register(model_of(report))
        return await self._store(transaction, trial, promoted)

    async def _objection(self, transaction: Transaction, report: ModelReport) -> str | None:
        """Why the version should not be champion: the gate's refusal or its trial's rollback, with figures."""
        if report.verdict != "passed":
            return f"the gate refused {report.version}: {'; '.join(report.reasons)}"
        for entry in await transaction.history(_HISTORY):
            is_rollback = entry.state == RolloutState.ROLLED_BACK and entry.by == AUTOMATION
            if entry.experiment == report.version and is_rollback:
                return f"the trial of {report.version} ended in a rollback: {entry.reason}"
        return None

    async def _store(self, transaction: Transaction, before: Trial, after: Trial) -> Trial:
        """Store a change and its consequences.

        After the end of a trial the queued model's trial begins. A share pinned by a setting applies to it too.
        """
        await transaction.store(before, after)
        if after.sequence != before.sequence:
            log.info(
                "rollout.changed",
                sequence=after.sequence,
                state=after.in_effect.state.value,
                share=after.in_effect.share,
                reason=after.in_effect.reason,
                by=after.in_effect.changed_by,
            )
        follow_up = self._next(after)
        if follow_up is None and _has_begun(before, after):
            follow_up = apply_start_settings(after, self.start_settings, self.clock())
        return await self._store(transaction, after, follow_up) if follow_up else after

    def _next(self, trial: Trial) -> Trial | None:
        return begin_queued(trial, self.clock()) if self._may_begin else None

    @property
    def _may_begin(self) -> bool:
        """Whether a trial may begin."""
        return self.start_settings.use_custom_vision and not self.start_settings.by_path

    async def _latencies(self, transaction: Transaction, experiment: str, arm: Arm) -> dict[int, float | None]:
        """Latency quantiles that the measures need, by percent."""
        statistics = (measure.statistic for measure in self.policy.gates.measures)
        percents = {statistic.percent for statistic in statistics if isinstance(statistic, Quantile)}
        return {percent: await transaction.latency_quantile(experiment, arm, percent) for percent in sorted(percents)}

    async def _trial(self, transaction: Transaction) -> Trial:
        return await transaction.trial() or await transaction.create_initial(Trial.initial(self.clock()))


def _with_queued(trial: Trial, model: ModelRef) -> Trial:
    newest = max((model, trial.queued or model), key=lambda candidate: int(candidate.version[1:]))
    return replace(trial, queued=newest)


def _has_begun(before: Trial, after: Trial) -> bool:
    return after.candidate is not None and after.candidate != before.candidate
