"""Freeze and removal of data set versions from a command: the trainer's own code on its database and object store."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from savo_runtime.command_line.output import CommandError
from savo_runtime.database import Database
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectStore
from savo_trainer.adapters.frozen_labels import DatabaseFrozenLabels
from savo_trainer.adapters.lease import DATASETS, DatabaseLease
from savo_trainer.adapters.run_database import DatabaseRuns
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.adapters.version_numbers import DatabaseVersionNumbers
from savo_trainer.versions.freeze import DatasetFreeze
from savo_trainer.versions.removal import DatasetRemoval

__all__ = ["run_freeze", "run_removal"]

LEASE_SECONDS = 30.0

T = TypeVar("T")


def run_freeze(work: Callable[[DatasetFreeze], Awaitable[T]]) -> T:
    """Run `work` with the trainer's freeze."""
    return asyncio.run(_run(lambda database, store: work(_freeze(database, store))))


def run_removal(work: Callable[[DatasetRemoval], Awaitable[T]]) -> T:
    """Run `work` with the trainer's removal of versions."""
    return asyncio.run(_run(lambda database, store: work(_removal(database, store))))


async def _run(work: Callable[[Database, ObjectStore], Awaitable[T]]) -> T:
    settings = load_settings(RuntimeSettings)
    database = Database.open(settings, "trainer")
    if database.is_sqlite and not await asyncio.to_thread(os.path.exists, database.url.database or ""):
        raise CommandError(f"there is no database {database.url.database}: start the product once with `savo up`")
    store = open_store(settings)
    try:
        return await work(database, store)
    finally:
        await store.close()
        await database.close()


def _freeze(database: Database, store: ObjectStore) -> DatasetFreeze:
    labels, numbers = DatabaseFrozenLabels(database, store), DatabaseVersionNumbers(database)
    return DatasetFreeze(DatabaseSamples(database), labels, numbers, store, _lease(database), _now)


def _removal(database: Database, store: ObjectStore) -> DatasetRemoval:
    lease = _lease(database)
    runs = DatabaseRuns(database, Outbox("trainer"), lease)
    return DatasetRemoval(DatabaseFrozenLabels(database, store), runs, store, lease, _now)


def _lease(database: Database) -> DatabaseLease:
    return DatabaseLease(database, f"{socket.gethostname()}-{os.getpid()}", LEASE_SECONDS, _now, DATASETS)


def _now() -> datetime:
    return datetime.now(UTC)
