"""What a service keeps that comes from topics, told in one place: its tables, how they are folded, and what stands in them alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Table
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.topics import Topic
from savo_runtime.messaging.consuming.subscriptions import Subscription
from savo_runtime.runtime import Runtime
from savo_runtime.settings import RuntimeSettings

__all__ = ["Fold", "ProjectedTable", "Projection"]


async def _nothing_more(_session: AsyncSession) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class ProjectedTable:
    """One table. Without `seed` it starts empty; with it, the live rows are copied and those columns set so (`{}`: copied as they are)."""

    table: Table
    topics: tuple[Topic[Any], ...]
    seed: Mapping[str, Any] | None = None
    own: tuple[str, ...] = ()
    """Columns that no topic tells: taken from the live row, never compared."""
    whole: bool = True
    """False: the service writes the rows itself; of those that are there, the columns that are not its own come from topics."""
    time: str | None = None
    """Column that says how old a row is: one that is older than what its topics still hold is carried over as it is."""
    stays: ColumnElement[bool] | None = None
    """Live rows that no event tells of, carried over as they are."""

    @property
    def name(self) -> str:
        return str(self.table.name)

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.primary_key.columns)

    @property
    def compared(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.columns if column.name not in self.own)


@dataclass(frozen=True)
class Fold:
    """Applies events, in the order of their times, to the runtime's database. Each may come twice."""

    subscriptions: Sequence[Subscription]
    finish: Callable[[AsyncSession], Awaitable[None]] = _nothing_more
    """Called when everything was read, perhaps more than once."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The part of a service's database that can be built anew."""

    tables: tuple[ProjectedTable, ...]
    fold: Callable[[Any, Runtime], Fold]
    """Given settings and a runtime whose outbox and publisher are silent, whose store only reads, and whose clock shows the record's time."""
    left: Mapping[str, str] = field(default_factory=dict)
    """What is not in any topic and stays as it is: table (or table.column), and why."""
    looked_at: tuple[Table, ...] = ()
    """Live tables that the fold reads: copied, never compared or written."""
    settings: type[RuntimeSettings] = RuntimeSettings

    @property
    def topics(self) -> tuple[Topic[Any], ...]:
        return tuple({topic.name: topic for table in self.tables for topic in table.topics}.values())
