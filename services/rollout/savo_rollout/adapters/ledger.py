"""The `Ledger` on a database: state, audit log, evidence and outbox in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import CursorResult, Row, and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.audit import Fact
from savo_contracts.measures import MEASURES, Measure
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutState
from savo_contracts.scans import Arm
from savo_rollout.adapters.tables import ErasedRow, HistoryRow, ModelRow, ScanRow, TrialRow, ValueRow
from savo_rollout.aliases import aliases_of
from savo_rollout.confidence_sequences import Values
from savo_rollout.errors import OvertakenError
from savo_rollout.evidence import ArmEvidence, ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_rollout.ports import HistoryEntry
from savo_rollout.state import Trial, changed_event
from savo_runtime.database import Database, upsert
from savo_runtime.messaging.publishing.inbox import first_time
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.telemetry.audit import audit

__all__ = ["SqlLedger"]

log = structlog.get_logger()

_THE_ONE = 1
_ValueRows = defaultdict[tuple[str, str, str], list[ValueRow]]
"""By arm, measure and subject."""

_MEASURES = {measure.name: measure for measure in MEASURES}

_SUMS = (
    "scans",
    "failed",
    "confirmed",
    "edited",
    "kept",
    "counted",
    "subjects",
    "cost_usd",
    "by_candidate",
    "confirmed_in_step",
)


@dataclass(frozen=True)
class SqlLedger:
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


class SqlTransaction:
    def __init__(self, session: AsyncSession, outbox: Outbox, *, writes: bool) -> None:
        self._session = session
        self._outbox = outbox
        self._writes = writes
        self._version = 0

    async def first_time(self, event_id: UUID) -> bool:
        return await first_time(self._session, event_id)

    async def trial(self) -> Trial | None:
        # Replicas that write take turns at this row, so that two halves of one scan never meet half-way (SQLite has one writer anyway).
        standing = select(TrialRow).where(TrialRow.id == _THE_ONE)
        row = await self._session.scalar(standing.with_for_update() if self._writes else standing)
        if row is None:
            return None
        self._version = row.version
        return _trial(row)

    async def open(self, blank: Trial) -> Trial:
        try:
            async with self._session.begin_nested():
                self._session.add(TrialRow(id=_THE_ONE, version=1, **_columns(blank)))
                self._session.add(HistoryRow(**_history_columns(blank)))
        except IntegrityError:
            log.info("rollout.created_by_other_replica")
        trial = await self.trial()
        assert trial is not None
        return trial

    async def change(self, before: Trial, after: Trial) -> None:
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
            by=after.changed_by,
            reason=after.reason,
            at=after.changed_at,
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
        statement = update(TrialRow).where(TrialRow.id == _THE_ONE, TrialRow.version == self._version).values(version=self._version + 1, **_columns(after))
        outcome = await self._session.execute(statement.execution_options(synchronize_session=False))
        if not isinstance(outcome, CursorResult) or outcome.rowcount != 1:
            raise OvertakenError(before.sequence)
        self._version += 1

    async def announce(self, trial: Trial) -> None:
        await self._outbox.add(self._session, changed_event(trial))

    async def register(self, model: ModelRef) -> bool:
        if await self._session.get(ModelRow, model.version) is not None:
            return False
        self._session.add(ModelRow(version=model.version, model=model.model_dump(mode="json")))
        return True

    async def record(self, scans: Sequence[EndedScan | ConfirmedScan], step: int, policy: GatePolicy) -> None:
        scans = await self._not_erased(scans)
        if not scans:
            return
        rows, values = await self._known_rows(scans), await self._known_values(scans)
        for scan in scans:
            row = rows.get(scan.scan_id)
            if row is None:
                row = rows[scan.scan_id] = _new_row(scan, step)
                self._session.add(row)
            if _write_half(scan, row):
                self._record_values(scan, step, policy.values(scan.figures), values)

    async def refresh(self, scan: EndedScan | ConfirmedScan, policy: GatePolicy) -> bool:
        """The figures of a scan that is there, written again; which step and which subject's first value it is stays. False when it is not there."""
        rows, values = await self._known_rows([scan]), await self._known_values([scan])
        row = rows.get(scan.scan_id)
        if row is not None and _write_half(scan, row):
            for measure, value in policy.values(scan.figures).items():
                for known in values[scan.arm.value, measure.name, scan.subject]:
                    known.value = value if known.scan_id == scan.scan_id else known.value
        return row is not None

    async def _not_erased(self, scans: Sequence[EndedScan | ConfirmedScan]) -> list[EndedScan | ConfirmedScan]:
        ids, subjects = {scan.scan_id for scan in scans}, {scan.subject for scan in scans}
        matches = or_(
            and_(ErasedRow.kind == "scan", ErasedRow.id.in_(ids)),
            and_(ErasedRow.kind == "subject", ErasedRow.id.in_(subjects)),
        )
        erased = {(row.kind, row.id) for row in await self._session.execute(select(ErasedRow.kind, ErasedRow.id).where(matches))}
        return [scan for scan in scans if ("scan", scan.scan_id) not in erased and ("subject", scan.subject) not in erased]

    async def _known_rows(self, scans: Sequence[EndedScan | ConfirmedScan]) -> dict[str, ScanRow]:
        known = await self._session.scalars(select(ScanRow).where(ScanRow.scan_id.in_({scan.scan_id for scan in scans})))
        return {row.scan_id: row for row in known}

    async def _known_values(self, scans: Sequence[EndedScan | ConfirmedScan]) -> _ValueRows:
        subjects = {scan.subject for scan in scans}
        known = await self._session.scalars(select(ValueRow).where(ValueRow.experiment == scans[0].experiment, ValueRow.subject.in_(subjects)))
        rows: _ValueRows = defaultdict(list)
        for row in known:
            rows[row.arm, row.measure, row.subject].append(row)
        return rows

    def _record_values(self, scan: EndedScan | ConfirmedScan, step: int, values: dict[Measure, float], known: _ValueRows) -> None:
        """New for the subject: insert. Of a scan that gave the subject's value before: revise. Of another scan: not the subject's value."""
        for measure, value in values.items():
            earlier = known[scan.arm.value, measure.name, scan.subject]
            for row in earlier:
                if row.scan_id == scan.scan_id:
                    row.value = value
            if not any(row.step == step or row.scan_id == scan.scan_id for row in earlier):
                row = ValueRow(**_value_key(scan, step, measure), scan_id=scan.scan_id, value=value, first=not earlier)
                self._session.add(row)
                earlier.append(row)

    async def erase_scan(self, scan_id: str) -> None:
        await upsert(self._session, ErasedRow, {"kind": "scan", "id": scan_id}, ["kind", "id"])
        await self._session.execute(delete(ScanRow).where(ScanRow.scan_id == scan_id))
        await self._session.execute(delete(ValueRow).where(ValueRow.scan_id == scan_id))

    async def erase_subject(self, subject: str) -> None:
        await upsert(self._session, ErasedRow, {"kind": "subject", "id": subject}, ["kind", "id"])
        await self._session.execute(delete(ScanRow).where(ScanRow.subject == subject))
        await self._session.execute(delete(ValueRow).where(ValueRow.subject == subject))

    async def evidence(self, experiment: str, step: int) -> dict[Arm, ArmEvidence]:
        first, here = await self._values(experiment, step)
        sums = {Arm(row.arm): row for row in await self._sums(experiment, step)}
        return {arm: ArmEvidence(**_numbers(sums.get(arm)), first=first[arm], step=here[arm]) for arm in Arm}

    async def _values(self, experiment: str, step: int) -> tuple[dict[Arm, dict[Measure, Values]], dict[Arm, dict[Measure, Values]]]:
        """Histograms over the whole experiment (first values) and over the present step.

        Values of a measure that this release does not know were written by another one, and are left out.
        """
        columns = (ValueRow.arm, ValueRow.measure, ValueRow.value, ValueRow.first, ValueRow.step)
        known = (ValueRow.experiment == experiment, ValueRow.measure.in_(_MEASURES))
        rows = await self._session.execute(select(*columns, func.count().label("n")).where(*known).group_by(*columns))
        first: dict[tuple[Arm, Measure], list[tuple[float, int]]] = defaultdict(list)
        here: dict[tuple[Arm, Measure], list[tuple[float, int]]] = defaultdict(list)
        for row in rows:
            key, pair = (Arm(row.arm), _MEASURES[row.measure]), (row.value, row.n)
            if row.first:
                first[key].append(pair)
            if row.step == step:
                here[key].append(pair)
        return _by_arm(first), _by_arm(here)

    async def _sums(self, experiment: str, step: int) -> list[Row[Any]]:
        confirmed = ScanRow.revision > 0
        counted = [
            func.count().filter(ScanRow.ended).label("scans"),
            func.count().filter(ScanRow.failed).label("failed"),
            func.count().filter(confirmed).label("confirmed"),
            func.count().filter(ScanRow.edited).label("edited"),
            func.sum(ScanRow.kept).label("kept"),
            func.sum(ScanRow.counted).label("counted"),
            func.count(ScanRow.subject.distinct()).label("subjects"),
            func.sum(ScanRow.cost_usd).label("cost_usd"),
            func.count().filter(ScanRow.by_candidate).label("by_candidate"),
            func.count().filter(confirmed, ScanRow.step == step).label("confirmed_in_step"),
        ]
        rows = await self._session.execute(select(ScanRow.arm, *counted).where(ScanRow.experiment == experiment).group_by(ScanRow.arm))
        return list(rows)

    async def latency_quantile(self, experiment: str, arm: Arm, percent: int) -> float | None:
        answered = (ScanRow.experiment == experiment, ScanRow.arm == arm.value, ScanRow.ended, ~ScanRow.failed)
        count = await self._session.scalar(select(func.count()).where(*answered)) or 0
        place = max(0, -(-count * percent // 100) - 1)
        return await self._session.scalar(select(ScanRow.latency_ms).where(*answered).order_by(ScanRow.latency_ms).offset(place).limit(1))

    async def history(self, limit: int) -> list[HistoryEntry]:
        rows = await self._session.scalars(select(HistoryRow).order_by(HistoryRow.sequence.desc()).limit(limit))
        return [HistoryEntry(**{entry.name: getattr(row, entry.name) for entry in fields(HistoryEntry)}) for row in rows]


def _new_row(scan: EndedScan | ConfirmedScan, step: int) -> ScanRow:
    nothing_yet = {
        "ended": False,
        "failed": False,
        "cost_usd": 0.0,
        "by_candidate": False,
        "revision": 0,
        "kept": 0,
        "counted": 0,
        "edited": False,
    }
    return ScanRow(
        scan_id=scan.scan_id,
        subject=scan.subject,
        experiment=scan.experiment,
        arm=scan.arm.value,
        step=step,
        **nothing_yet,
    )


def _write_half(scan: EndedScan | ConfirmedScan, row: ScanRow) -> bool:
    """Write the scan's own half of the row; False for a confirmation that is older than the one known."""
    if isinstance(scan, EndedScan):
        row.ended, row.failed, row.latency_ms, row.cost_usd, row.by_candidate = (
            True,
            scan.failed,
            scan.latency_ms,
            scan.cost_usd,
            scan.by_candidate,
        )
        return True
    if scan.revision < row.revision:
        return False
    row.revision, row.kept, row.counted, row.edited = scan.revision, scan.kept, scan.counted, scan.edited
    return True


def _value_key(scan: EndedScan | ConfirmedScan, step: int, measure: Measure) -> dict[str, Any]:
    return {
        "experiment": scan.experiment,
        "arm": scan.arm.value,
        "step": step,
        "measure": measure.name,
        "subject": scan.subject,
    }


def _by_arm(histograms: dict[tuple[Arm, Measure], list[tuple[float, int]]]) -> dict[Arm, dict[Measure, Values]]:
    return {arm: {measure: Values.of(pairs) for (owner, measure), pairs in histograms.items() if owner is arm} for arm in Arm}


def _numbers(row: Row[Any] | None) -> dict[str, Any]:
    return {name: getattr(row, name) or 0 for name in _SUMS} if row is not None else {}


def _share(trial: Trial) -> dict[str, Fact]:
    return {"share": trial.share, "state": trial.state.value, "experiment": trial.experiment}


def _columns(trial: Trial) -> dict[str, Any]:
    values = {entry.name: getattr(trial, entry.name) for entry in fields(Trial)}
    models = {name: values[name].model_dump(mode="json") if values[name] else None for name in ("candidate", "champion", "queued")}
    former = [model.model_dump(mode="json") for model in trial.former]
    return values | models | {"state": trial.state.value, "former": former}


def _history_columns(trial: Trial) -> dict[str, Any]:
    champion = trial.champion.version if trial.champion else None
    names = {"sequence": trial.sequence, "at": trial.changed_at, "by": trial.changed_by, "state": trial.state.value}
    return names | {"share": trial.share, "experiment": trial.experiment, "champion": champion, "reason": trial.reason}


def _trial(row: TrialRow) -> Trial:
    values = {entry.name: getattr(row, entry.name) for entry in fields(Trial)}
    models = {name: ModelRef.model_validate(values[name]) if values[name] else None for name in ("candidate", "champion", "queued")}
    former = tuple(ModelRef.model_validate(model) for model in row.former)
    return Trial(**(values | models | {"state": RolloutState(row.state), "former": former}))
