"""Declares which trainer tables `savo rebuild` rebuilds, and from which topics."""

from __future__ import annotations

from sqlalchemy import Table

from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_STORED
from savo_runtime.messaging.consuming.subscriptions import bind
from savo_runtime.projection import Fold, ProjectedTable, Projection
from savo_runtime.service import Runtime
from savo_runtime.settings import RuntimeSettings
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.adapters.tables import Base, ErasedSampleRow, SampleRow
from savo_trainer.handlers import on_sample_erased, on_sample_stored

__all__ = ["PROJECTION"]


class _KeptLabels:
    """A rebuild deletes no file: the trainer's handler did, when the photo was erased."""

    async def erase(self, sha256: str) -> None: ...


def _fold(_settings: RuntimeSettings, runtime: Runtime) -> Fold:
    samples, labels = DatabaseSamples(runtime.database), _KeptLabels()
    return Fold([bind(on_sample_stored, samples=samples), bind(on_sample_erased, samples=samples, labels=labels)])


def _table(row: type[Base]) -> Table:
    assert isinstance(row.__table__, Table)
    return row.__table__


PROJECTION = Projection(
    tables=(
        ProjectedTable(table=_table(SampleRow), topics=(SAMPLES_STORED, SAMPLES_ERASED)),
        ProjectedTable(table=_table(ErasedSampleRow), topics=(SAMPLES_ERASED,)),
    ),
    fold=_fold,
    not_rebuilt={
        "runs": "state and figures of runs in progress: training.finished has only their end",
        "run_transitions": "transitions of runs are in no event",
        "numbers": "each number is assigned once",
        "leases": "the current owner",
        "frozen_labels": "label files of the data set versions in the object store",
        "outbox": "events that are not published yet",
    },
)
