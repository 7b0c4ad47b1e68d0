"""Evidence in the database: a row for each scan, and a row for each subject's value of a measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.measures import MEASURES, Measure
from savo_contracts.scans import Arm
from savo_rollout.adapters.tables import ErasedRow, ScanRow, ValueRow
from savo_rollout.confidence_sequences import Values
from savo_rollout.evidence import ArmEvidence, ConfirmedScan, EndedScan
from savo_rollout.gates import GatePolicy
from savo_runtime.database import upsert

__all__ = ["EvidenceTables"]

_Scan = EndedScan | ConfirmedScan
_ValueRows = defaultdict[tuple[str, str, str], list[ValueRow]]
"""By arm, measure and subject."""
_Histograms = dict[Arm, dict[Measure, Values]]

_MEASURES = {measure.name: measure for measure in MEASURES}

_CONFIRMED = ScanRow.revision > 0
_TOTALS: dict[str, ColumnElement[Any]] = {
    "scans": func.count().filter(ScanRow.ended),
    "failed": func.count().filter(ScanRow.failed),
    "confirmed": func.count().filter(_CONFIRMED),
    "edited": func.count().filter(ScanRow.edited),
    "kept": func.sum(ScanRow.kept),
    "counted_items": func.sum(ScanRow.counted),
    "subjects": func.count(ScanRow.subject.distinct()),
    "cost_usd": func.sum(ScanRow.cost_usd),
    "answered_by_candidate": func.count().filter(ScanRow.by_candidate),
}
"""By the field of `ArmEvidence`."""


class EvidenceTables:
    """Evidence part of a transaction. Port: `savo_rollout.ports.Transaction`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def record(self, scans: Sequence[_Scan], step: int, policy: GatePolicy) -> None:
        scans = await self._not_erased(scans)
        if not scans:
            return
        rows, values = await self._known_rows(scans), await self._known_values(scans)
        for scan in scans:
            row = rows.get(scan.scan_id)
            if row is None:
                row = rows[scan.scan_id] = _new_row(scan, step)
                self._session.add(row)
            if _update_row(scan, row):
                self._record_values(scan, step, policy.values(scan.figures), values)

    async def refresh(self, scan: _Scan, policy: GatePolicy) -> bool:
        """Update the figures of a stored scan. Its step stays, and so does the choice of the subject's value.

        False when the scan is not stored.
        """
        rows, values = await self._known_rows([scan]), await self._known_values([scan])
        row = rows.get(scan.scan_id)
        if row is not None and _update_row(scan, row):
            for measure, value in policy.values(scan.figures).items():
                for known in values[scan.arm.value, measure.name, scan.subject]:
                    known.value = value if known.scan_id == scan.scan_id else known.value
        return row is not None

    async def erase_scan(self, scan_id: str) -> None:
        await upsert(self._session, ErasedRow, {"kind": "scan", "id": scan_id}, ["kind", "id"])
        await self._session.execute(delete(ScanRow).where(ScanRow.scan_id == scan_id))
        await self._session.execute(delete(ValueRow).where(ValueRow.scan_id == scan_id))

    async def erase_subject(self, subject: str) -> None:
        await upsert(self._session, ErasedRow, {"kind": "subject", "id": subject}, ["kind", "id"])
        await self._session.execute(delete(ScanRow).where(ScanRow.subject == subject))
        await self._session.execute(delete(ValueRow).where(ValueRow.subject == subject))

    async def evidence(self, experiment: str, step: int) -> dict[Arm, ArmEvidence]:
        first, in_step = await self._histograms(experiment, step)
        totals = {Arm(row.arm): _numbers(row) for row in await self._totals(experiment, step)}
        return {
            arm: ArmEvidence(**totals.get(arm, {}), first_values=first[arm], step_values=in_step[arm]) for arm in Arm
        }

    async def latency_quantile(self, experiment: str, arm: Arm, percent: int) -> float | None:
        answered = (ScanRow.experiment == experiment, ScanRow.arm == arm.value, ScanRow.ended, ~ScanRow.failed)
        count = await self._session.scalar(select(func.count()).where(*answered)) or 0
        place = max(0, -(-count * percent // 100) - 1)
        ordered = select(ScanRow.latency_ms).where(*answered).order_by(ScanRow.latency_ms)
        return await self._session.scalar(ordered.offset(place).limit(1))

    async def _not_erased(self, scans: Sequence[_Scan]) -> list[_Scan]:
        ids, subjects = {scan.scan_id for scan in scans}, {scan.subject for scan in scans}
        matches = or_(
            and_(ErasedRow.kind == "scan", ErasedRow.id.in_(ids)),
            and_(ErasedRow.kind == "subject", ErasedRow.id.in_(subjects)),
        )
        rows = await self._session.execute(select(ErasedRow.kind, ErasedRow.id).where(matches))
        erased = {(row.kind, row.id) for row in rows}
        return [scan for scan in scans if not erased & {("scan", scan.scan_id), ("subject", scan.subject)}]

    async def _known_rows(self, scans: Sequence[_Scan]) -> dict[str, ScanRow]:
        ids = {scan.scan_id for scan in scans}
        known = await self._session.scalars(select(ScanRow).where(ScanRow.scan_id.in_(ids)))
        return {row.scan_id: row for row in known}

    async def _known_values(self, scans: Sequence[_Scan]) -> _ValueRows:
        subjects = {scan.subject for scan in scans}
        matches = (ValueRow.experiment == scans[0].experiment, ValueRow.subject.in_(subjects))
        rows: _ValueRows = defaultdict(list)
        for row in await self._session.scalars(select(ValueRow).where(*matches)):
            rows[row.arm, row.measure, row.subject].append(row)
        return rows

    def _record_values(self, scan: _Scan, step: int, values: dict[Measure, float], known: _ValueRows) -> None:
        """Insert the subject's first value in the step, or update it if it came from the same scan.

        Values of the subject's other scans are dropped.
        """
        for measure, value in values.items():
            earlier = known[scan.arm.value, measure.name, scan.subject]
            for row in earlier:
                if row.scan_id == scan.scan_id:
                    row.value = value
            if not any(row.step == step or row.scan_id == scan.scan_id for row in earlier):
                row = _new_value(scan, step, measure, value, first=not earlier)
                self._session.add(row)
                earlier.append(row)

    async def _histograms(self, experiment: str, step: int) -> tuple[_Histograms, _Histograms]:
        """Histograms of the first values in the whole experiment, and of those in the present step.

        Measures that this release does not know, because another release wrote them, are ignored.
        """
        columns = (ValueRow.arm, ValueRow.measure, ValueRow.value, ValueRow.first, ValueRow.step)
        known = (ValueRow.experiment == experiment, ValueRow.measure.in_(_MEASURES))
        grouped = select(*columns, func.count().label("n")).where(*known).group_by(*columns)
        first: dict[tuple[Arm, Measure], list[tuple[float, int]]] = defaultdict(list)
        in_step: dict[tuple[Arm, Measure], list[tuple[float, int]]] = defaultdict(list)
        for row in await self._session.execute(grouped):
            key, pair = (Arm(row.arm), _MEASURES[row.measure]), (row.value, row.n)
            if row.first:
                first[key].append(pair)
            if row.step == step:
                in_step[key].append(pair)
        return _by_arm(first), _by_arm(in_step)

    async def _totals(self, experiment: str, step: int) -> list[Row[Any]]:
        columns = [total.label(name) for name, total in _TOTALS.items()]
        in_step = func.count().filter(_CONFIRMED, ScanRow.step == step).label("confirmed_in_step")
        scans = select(ScanRow.arm, *columns, in_step).where(ScanRow.experiment == experiment)
        return list(await self._session.execute(scans.group_by(ScanRow.arm)))


def _new_row(scan: _Scan, step: int) -> ScanRow:
    return ScanRow(
        scan_id=scan.scan_id,
        subject=scan.subject,
        experiment=scan.experiment,
        arm=scan.arm.value,
        step=step,
        ended=False,
        failed=False,
        cost_usd=0.0,
        by_candidate=False,
        revision=0,
        kept=0,
        counted=0,
        edited=False,
    )


def _update_row(scan: _Scan, row: ScanRow) -> bool:
    """Write the columns that the event has. False for a confirmation that is older than the stored one."""
    if isinstance(scan, EndedScan):
        row.ended, row.failed, row.by_candidate = True, scan.failed, scan.answered_by_candidate
        row.latency_ms, row.cost_usd = scan.latency_ms, scan.cost_usd
        return True
    if scan.revision < row.revision:
        return False
    row.revision, row.kept, row.counted, row.edited = scan.revision, scan.kept, scan.counted_items, scan.edited
    return True


def _new_value(scan: _Scan, step: int, measure: Measure, value: float, *, first: bool) -> ValueRow:
    return ValueRow(
        experiment=scan.experiment,
        arm=scan.arm.value,
        step=step,
        measure=measure.name,
        subject=scan.subject,
        scan_id=scan.scan_id,
        value=value,
        first=first,
    )


def _by_arm(histograms: dict[tuple[Arm, Measure], list[tuple[float, int]]]) -> _Histograms:
    by_arm: _Histograms = {arm: {} for arm in Arm}
    for (arm, measure), pairs in histograms.items():
        by_arm[arm][measure] = Values.of(pairs)
    return by_arm


def _numbers(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) or 0 for name in (*_TOTALS, "confirmed_in_step")}
