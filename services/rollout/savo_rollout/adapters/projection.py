"""Projection: the tables of the rollout that `savo rebuild rollout` rebuilds from topics."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table

from savo_contracts.models import ModelRegistered
from savo_contracts.scans import ScanCompleted, ScanConfirmed, ScanErased, ScanFailed
from savo_contracts.topics import (
    MODELS_REGISTERED,
    SCANS_COMPLETED,
    SCANS_CONFIRMED,
    SCANS_ERASED,
    SCANS_FAILED,
    SUBJECTS_ERASED,
)
from savo_contracts.users import SubjectErased
from savo_rollout.adapters.repository import SqlRepository
from savo_rollout.adapters.tables import Base, ErasedRow, ModelRow, ScanRow, TrialRow, ValueRow
from savo_rollout.evidence import ConfirmedScan, EndedScan, completed_scan, confirmed_scan, failed_scan
from savo_rollout.gates import GatePolicy
from savo_rollout.registry import registered_model
from savo_rollout.settings import RolloutSettings
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime

__all__ = ["PROJECTION"]


@dataclass(frozen=True)
class EvidenceRebuilder:
    """Rebuilds the rows of scans.

    A scan with a row gets its figures again. A scan without a row that belongs to the running trial is recorded in the
    trial's present step.
    """

    repository: SqlRepository
    policy: GatePolicy

    async def record(self, scan: EndedScan | ConfirmedScan | None) -> None:
        if scan is None:
            return
        async with self.repository.transaction() as transaction:
            if await transaction.refresh(scan, self.policy):
                return
            trial = await transaction.trial()
            if trial is not None and trial.collects_evidence and trial.experiment == scan.experiment:
                await transaction.record([scan], trial.in_effect.step, self.policy)


@consumes(SCANS_COMPLETED)
async def on_completed(completed: ScanCompleted, evidence: EvidenceRebuilder) -> None:
    await evidence.record(completed_scan(completed))


@consumes(SCANS_FAILED)
async def on_failed(failed: ScanFailed, evidence: EvidenceRebuilder) -> None:
    await evidence.record(failed_scan(failed))


@consumes(SCANS_CONFIRMED)
async def on_confirmed(confirmed: ScanConfirmed, evidence: EvidenceRebuilder) -> None:
    await evidence.record(confirmed_scan(confirmed))


@consumes(MODELS_REGISTERED)
async def on_registered(registered: ModelRegistered, evidence: EvidenceRebuilder) -> None:
    async with evidence.repository.transaction() as transaction:
        await transaction.register(registered_model(registered))


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, evidence: EvidenceRebuilder) -> None:
    async with evidence.repository.transaction() as transaction:
        await transaction.erase_scan(erased.scan_id)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, evidence: EvidenceRebuilder) -> None:
    async with evidence.repository.transaction() as transaction:
        await transaction.erase_subject(erased.subject)


def _fold(settings: RolloutSettings, runtime: Runtime) -> Fold:
    evidence = EvidenceRebuilder(SqlRepository(runtime.database, runtime.outbox), GatePolicy(settings.targets))
    handlers = (on_completed, on_failed, on_confirmed, on_registered, on_scan_erased, on_subject_erased)
    return Fold([bind(handler, evidence=evidence) for handler in handlers])


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


_OF_SCANS = (SCANS_COMPLETED, SCANS_FAILED, SCANS_CONFIRMED, SCANS_ERASED, SUBJECTS_ERASED)

PROJECTION = Projection(
    tables=(
        ProjectedTable(table=_table(ScanRow), topics=_OF_SCANS, seed={}, own_columns=("step",)),
        ProjectedTable(table=_table(ValueRow), topics=_OF_SCANS, seed={}, own_columns=("scan_id", "first")),
        ProjectedTable(table=_table(ModelRow), topics=(MODELS_REGISTERED,)),
        ProjectedTable(table=_table(ErasedRow), topics=(SCANS_ERASED, SUBJECTS_ERASED), seed={}),
    ),
    fold=_fold,
    read_tables=(_table(TrialRow),),
    not_rebuilt={
        "trial": "the present state: only rollout decides it",
        "history": "the log of decisions: its topic is compacted to the newest one",
        "scans.step": "the step in which a scan was first recorded; a lost scan counts in the present step",
        "subject_values.scan_id": "which of a subject's scans was the first",
        "processed_events": "ids of handled models.refused events",
        "outbox": "events that are not published yet",
    },
    settings=RolloutSettings,
)
