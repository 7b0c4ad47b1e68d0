"""Repository of the rollout: state, history, evidence and outbox in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.audit import AuditValue
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutState
from savo_rollout.adapters.evidence_tables import EvidenceTables
from savo_rollout.adapters.tables import HistoryRow, ModelRow, TrialRow
from savo_rollout.aliases import aliases_of
from savo_rollout.errors import StaleStateError
from savo_rollout.ports import HistoryEntry
from savo_rollout.state import PathPin, Trial, changed_event
from savo_runtime.database import Database
from savo_runtime.messaging.publishing.inbox import mark_processed
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.telemetry.audit import audit

__all__ = ["SqlRepository"]

log = structlog.get_logger()

_TRIAL_ID = 1
"""Id of the table's only row."""

_MODELS = ("candidate", "champion", "queued")


@dataclass(frozen=True)
class SqlRepository:
    """Opens transactions on the service's database. Port: `savo_rollout.ports.Repository`."""

    database: Database
    outbox: Outbox

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        async with self.database.session() as session:
            yield SqlTransaction(session, self.outbox, writes=True)

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[SqlTransaction]:
        async with self.database.session(read_only=True) as session:
            yield SqlTransaction(session, self.outbox, writes=False)


class SqlTransaction(EvidenceTables):
    """State, history, outbox and evidence. Port: `savo_rollout.ports.Transaction`."""

    def __init__(self, session: AsyncSession, outbox: Outbox, *, writes: bool) -> None:
        super().__init__(session)
        self._outbox = outbox
        self._writes = writes
        self._version = 0

    async def mark_processed(self, event_id: UUID) -> bool:
        return await mark_processed(self._session, event_id)

    async def trial(self) -> Trial | None:
        # The lock keeps two replicas from writing the completion and the confirmation of one scan concurrently. SQLite
        # has only one writer anyway.
        query = select(TrialRow).where(TrialRow.id == _TRIAL_ID)
        row = await self._session.scalar(query.with_for_update() if self._writes else query)
        if row is None:
            return None
        self._version = row.version
        return _trial(row)

    async def create_initial(self, initial: Trial) -> Trial:
        try:
            async with self._session.begin_nested():
                self._session.add(TrialRow(id=_TRIAL_ID, version=1, **_columns(initial)))
                self._session.add(HistoryRow(**_history_columns(initial)))
        except IntegrityError:
            log.info("rollout.created_by_other_replica")
        trial = await self.trial()
        assert trial is not None
        return trial

    async def store(self, before: Trial, after: Trial) -> None:
        await self._swap(before, after)
        if after.sequence != before.sequence:
            self._session.add(HistoryRow(**_history_columns(after)))
            await self._outbox.add(self._session, changed_event(after))
            await self._audit(before, after)
        await self._session.flush()

    async def _audit(self, before: Trial, after: Trial) -> None:
        write = partial(
            audit,
            partial(self._outbox.add, self._session),
            by=after.in_effect.changed_by,
            reason=after.in_effect.reason,
            at=after.in_effect.changed_at,
        )
        if _share(before) != _share(after):
            await write("share.changed", about="vision", before=_share(before), after=_share(after))
        for old, new in zip(aliases_of(before), aliases_of(after), strict=True):
            if old.version != new.version:
                await write(
                    "alias.moved",
                    about=f"models:/ingredients@{new.alias}",
                    before={"version": old.version},
                    after={"version": new.version},
                )

    async def _swap(self, before: Trial, after: Trial) -> None:
        unchanged = (TrialRow.id == _TRIAL_ID, TrialRow.version == self._version)
        swap = update(TrialRow).where(*unchanged).values(version=self._version + 1, **_columns(after))
        outcome = await self._session.execute(swap.execution_options(synchronize_session=False))
        if not isinstance(outcome, CursorResult) or outcome.rowcount != 1:
            raise StaleStateError(before.sequence)
        self._version += 1

    async def republish(self, trial: Trial) -> None:
        await self._outbox.add(self._session, changed_event(trial))

    async def register(self, model: ModelRef) -> bool:
        if await self._session.get(ModelRow, model.version) is not None:
            return False
        self._session.add(ModelRow(version=model.version, model=model.model_dump(mode="json")))
        return True

    async def history(self, limit: int) -> list[HistoryEntry]:
        rows = await self._session.scalars(select(HistoryRow).order_by(HistoryRow.sequence.desc()).limit(limit))
        names = [entry.name for entry in fields(HistoryEntry)]
        return [HistoryEntry(**{name: getattr(row, name) for name in names}) for row in rows]


def _share(trial: Trial) -> dict[str, AuditValue]:
    trial = trial.in_effect
    return {"share": trial.share, "state": trial.state.value, "experiment": trial.experiment}


def _columns(trial: Trial) -> dict[str, Any]:
    values = {entry.name: getattr(trial, entry.name) for entry in fields(Trial)}
    models = {name: values[name].model_dump(mode="json") if values[name] else None for name in _MODELS}
    former = [model.model_dump(mode="json") for model in trial.former]
    pin = trial.pin.to_json() if trial.pin else None
    return values | models | {"state": trial.state.value, "former": former, "pin": pin}


def _history_columns(trial: Trial) -> dict[str, Any]:
    trial = trial.in_effect
    champion = trial.champion.version if trial.champion else None
    names = {"sequence": trial.sequence, "at": trial.changed_at, "by": trial.changed_by, "state": trial.state.value}
    return names | {"share": trial.share, "experiment": trial.experiment, "champion": champion, "reason": trial.reason}


def _trial(row: TrialRow) -> Trial:
    values = {entry.name: getattr(row, entry.name) for entry in fields(Trial)}
    models = {name: ModelRef.model_validate(values[name]) if values[name] else None for name in _MODELS}
    former = tuple(ModelRef.model_validate(model) for model in row.former)
    pin = PathPin.of_json(row.pin) if row.pin else None
    return Trial(**(values | models | {"state": RolloutState(row.state), "former": former, "pin": pin}))
