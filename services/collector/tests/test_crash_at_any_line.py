"""Crash safety of the collection: the process ends before, or after, each single call to a port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import select

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.adapters.tables import Base
from savo_collector.collection import CollectSample
from savo_collector.thresholds import TrainingPolicy
from savo_contracts.samples import SampleStored
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime, published_by_outbox


class CrashError(BaseException):
    """The end of the process: no handler catches it."""


@dataclass
class CrashPoint:
    """Raises `CrashError` at one call, before its effect or after it."""

    call: int
    after: bool
    calls: int = field(default=0)

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self.call and not self.after:
            raise CrashError
        own_call = self.calls
        try:
            return await function(*args, **kwargs)
        finally:
            if own_call == self.call:
                raise CrashError


class CrashingPort:
    def __init__(self, port: Any, crash_point: CrashPoint) -> None:
        self._port, self._crash_point = port, crash_point

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._crash_point.run(getattr(self._port, name), *args, **kwargs)

        return call


class CrashingDatabase:
    def __init__(self, database: SqlSampleDatabase, crash_point: CrashPoint) -> None:
        self._database, self._crash_point = database, crash_point

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._database.transaction() as transaction:
            yield CrashingPort(transaction, self._crash_point)
        await self._crash_point.run(_nothing)  # the commit is done, and the process may crash before it notices

    @asynccontextmanager
    async def read_transaction(self) -> AsyncIterator[Any]:
        async with self._database.read_transaction() as transaction:
            yield CrashingPort(transaction, self._crash_point)


async def _nothing() -> None:
    return None


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("revision", [1, 2])
async def test_after_a_crash_at_any_line_a_repeat_gives_the_same_sample_counts_and_events(
    after: bool,
    revision: int,
    build: Callable[..., CollectSample],
    confirm: Callable[..., Any],
    revised: Callable[..., Any],
) -> None:
    expected = await _run(None, after, revision, build, confirm, revised)
    step, crashed = 0, True
    while crashed:
        step += 1
        *outcome, crashed = await _run(step, after, revision, build, confirm, revised)
        assert outcome == list(expected[:-1]), f"crash at call {step}"
    assert step > (15 if revision == 1 else 8), "the calls were counted"


async def _run(step: int | None, after: bool, revision: int, build: Any, confirm: Any, revised: Any) -> tuple[Any, ...]:
    async with memory_runtime("collector", migrations="savo_collector.migrations", clock=FakeClock()) as runtime:
        training = TrainingPolicy(threshold=1)
        confirmed = await confirm(runtime)
        if revision == 2:
            await build(runtime, training=training)(confirmed)
            confirmed = revised(confirmed)
        crash_point = CrashPoint(step or -1, after)
        database = CrashingDatabase(SqlSampleDatabase(runtime.database, runtime.outbox), crash_point)
        crashing = build(_with_crashing_store(runtime, crash_point), database=database, training=training)
        crashed = await _crashes(crashing, confirmed)
        event = await build(runtime, training=training)(confirmed)
        assert isinstance(event, SampleStored)
        return event, dict(runtime.store.objects), await _tables(runtime), await published_by_outbox(runtime), crashed  # type: ignore[attr-defined]


def _with_crashing_store(runtime: Runtime, crash_point: CrashPoint) -> Runtime:
    return replace(runtime, store=CrashingPort(runtime.store, crash_point))


async def _crashes(collect: CollectSample, confirmed: Any) -> bool:
    try:
        await collect(confirmed)
    except CrashError:
        return True
    return False


async def _tables(runtime: Runtime) -> dict[str, list[tuple[Any, ...]]]:
    async with runtime.database.session(read_only=True) as session:
        found = {
            name: [tuple(row) for row in await session.execute(select(table).order_by(*table.primary_key))]
            for name, table in Base.metadata.tables.items()
        }
    found["counts"] = [row[:1] + row[2:] for row in found["counts"]]  # turns: the number of transactions
    return found
