"""Training runs in the database: requests, states, attempts and verdicts.

Every write of a worker renews its lease in the same transaction, so a replica that lost the lease changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import Event, derived_id
from savo_runtime.database import Database
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.telemetry.audit import Action, audit
from savo_trainer.adapters.lease import DatabaseLease
from savo_trainer.adapters.tables import RunRow, TransitionRow
from savo_trainer.errors import RunCancelledError
from savo_trainer.runs.events import training_finished
from savo_trainer.runs.run import (
    OPEN,
    Progress,
    Run,
    RunResults,
    State,
    Transition,
    check_transition,
    request_cancellation,
)

__all__ = ["DatabaseRuns"]


@dataclass(frozen=True)
class DatabaseRuns:
    database: Database
    outbox: Outbox
    lease: DatabaseLease

    async def request(self, run: Run) -> bool:
        async with self.database.session() as session:
            if await session.get(RunRow, run.id):
                return False
            session.add(_row(run))
            session.add(_transition(run.id, None, run.state, self.lease.clock(), str(run.trigger.get("reason", ""))))
            return True

    async def oldest_open(self) -> Run | None:
        async with self.database.session(read_only=True) as session:
            # A run that is being cancelled comes before all others.
            order = (RunRow.state != State.CANCELLING, RunRow.requested_at, RunRow.id)
            row = await session.scalar(select(RunRow).where(RunRow.state.in_(OPEN)).order_by(*order).limit(1))
            return _run(row) if row else None

    async def get(self, run_id: str) -> Run | None:
        async with self.database.session(read_only=True) as session:
            row = await session.get(RunRow, run_id)
            return _run(row) if row else None

    async def newest(self, limit: int) -> Sequence[Run]:
        async with self.database.session(read_only=True) as session:
            rows = await session.scalars(select(RunRow).order_by(RunRow.requested_at.desc(), RunRow.id).limit(limit))
            return [_run(row) for row in rows]

    async def history(self, run_id: str) -> Sequence[Transition]:
        async with self.database.session(read_only=True) as session:
            rows = await session.scalars(
                select(TransitionRow).where(TransitionRow.run_id == run_id).order_by(TransitionRow.id)
            )
            return [
                Transition(
                    before=State(row.before) if row.before else None,
                    after=State(row.after),
                    at=row.at,
                    detail=row.detail,
                )
                for row in rows
            ]

    async def begin_attempt(self, run_id: str) -> Run:
        async with self.database.session() as session:
            row = await self._locked_row(session, run_id)
            row.attempts += 1
            row.started_at = row.started_at or self.lease.clock()
            return _run(row)

    async def uncount_attempt(self, run_id: str) -> None:
        async with self.database.session() as session:
            row = await self._locked_row(session, run_id)
            row.attempts = max(0, row.attempts - 1)

    async def record_progress(self, run_id: str, progress: Progress) -> None:
        async with self.database.session() as session:
            row = await self._locked_row(session, run_id)
            row.progress = progress.model_dump(mode="json")

    async def cancel(self, run_id: str, by: str, reason: str) -> tuple[Run, bool] | None:
        async with self.database.session() as session:
            row = await session.get(RunRow, run_id, with_for_update=True)
            if row is None:
                return None
            now, current = self.lease.clock(), _run(row)
            run = request_cancellation(current, by, reason, now)
            if run is current:
                return run, False
            _write(row, run)
            session.add(_transition(run.id, current.state, run.state, now, run.reasons[0]))
            record = partial(self.outbox.add, session)
            await audit(
                record,
                "run.cancelled",
                by=by,
                about=run.id,
                before={"state": current.state},
                after={"state": State.CANCELLED},
                reason=reason,
                at=now,
            )
            if not run.is_open:
                await self._publish(session, run, [training_finished(run, run.state)])
            return run, not run.is_open

    async def record_judged(self, run: Run, events: Iterable[Event], *, by: str, reason: str) -> tuple[Run, bool]:
        try:
            async with self.database.session() as session:
                session.add(_row(run))
                await session.flush()
                session.add(_transition(run.id, None, run.state, self.lease.clock(), "; ".join(run.reasons)))
                await self._publish(session, run, events)
                action: Action = "model.registered" if run.state is State.REGISTERED else "model.refused"
                figures = {"run": run.id, "map50": run.facts.evaluation.map50 if run.facts.evaluation else None}
                await audit(
                    partial(self.outbox.add, session),
                    action,
                    by=by,
                    about=str(run.facts.version),
                    after=figures,
                    reason=reason,
                    at=run.finished_at,
                )
                return run, True
        except IntegrityError:
            recorded = await self.get(run.id)
            assert recorded is not None, "the insert failed because the run exists"
            return recorded, False

    async def change_state(self, run: Run, after: State, *, detail: str = "", events: Iterable[Event] = ()) -> Run:
        async with self.database.session() as session:
            row = await self._locked_row(session, run.id)
            before = State(row.state)
            if before is not run.state and _run(row).is_cancelled:
                raise RunCancelledError(run.id)
            check_transition(before, after)
            _write(row, run.model_copy(update={"state": after, "attempts": 0, "started_at": row.started_at}))
            session.add(_transition(run.id, before, after, self.lease.clock(), detail))
            await self._publish(session, run, events)
            return _run(row)

    async def _publish(self, session: AsyncSession, run: Run, events: Iterable[Event]) -> None:
        for event in events:
            await self.outbox.add(session, event, event_id=derived_id(run.event_id, event.type))

    async def _locked_row(self, session: AsyncSession, run_id: str) -> RunRow:
        await self.lease.hold(session)
        row = await session.get(RunRow, run_id, with_for_update=True)
        assert row is not None, f"{run_id} is recorded before a worker starts on it"
        return row


def _row(run: Run) -> RunRow:
    return RunRow(
        id=run.id,
        event_id=run.event_id,
        dataset=run.dataset,
        trigger=run.trigger,
        requested_at=run.requested_at,
        **_changing(run),
    )


def _write(row: RunRow, run: Run) -> None:
    for name, value in _changing(run).items():
        if name != "progress":  # `record_progress` writes it
            setattr(row, name, value)


def _changing(run: Run) -> dict[str, Any]:
    """Columns that change after the request."""
    return {
        "state": run.state.value,
        "attempts": run.attempts,
        "facts": run.facts.model_dump(mode="json"),
        "progress": run.progress.model_dump(mode="json") if run.progress else None,
        "reasons": list(run.reasons),
        "next_steps": list(run.next_steps),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def _run(row: RunRow) -> Run:
    return Run(
        id=row.id,
        event_id=row.event_id,
        dataset=row.dataset,
        state=State(row.state),
        trigger=row.trigger,
        attempts=row.attempts,
        facts=RunResults.model_validate(row.facts),
        progress=Progress.model_validate(row.progress) if row.progress else None,
        reasons=tuple(row.reasons),
        next_steps=tuple(row.next_steps),
        requested_at=row.requested_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _transition(run_id: str, before: State | None, after: State, at: datetime, detail: str) -> TransitionRow:
    return TransitionRow(
        run_id=run_id, before=before.value if before else None, after=after.value, at=at, detail=detail
    )
