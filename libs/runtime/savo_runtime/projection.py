"""Projection: the tables of a service that can be rebuilt from topics, and the function that folds events into them."""

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


async def _no_finish(_session: AsyncSession) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class ProjectedTable:
    """A table of a projection. It starts empty, or with copies of the live rows where `seed` is given."""

    table: Table
    topics: tuple[Topic[Any], ...]
    seed: Mapping[str, Any] | None = None
    """Column values to overwrite in the copied rows; `{}` copies them unchanged, None copies no rows."""
    own_columns: tuple[str, ...] = ()
    """Columns that no topic holds: taken from the live row, never compared."""
    rows_from_topics: bool = True
    """False: the service inserts the rows itself, and topics only set the other columns of existing rows."""
    time_column: str | None = None
    """The row's time. A row older than the oldest record that its topics still hold is copied unchanged."""
    kept_rows: ColumnElement[bool] | None = None
    """Condition on live rows that no event describes; they are copied unchanged."""

    @property
    def name(self) -> str:
        return str(self.table.name)

    @property
    def key_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.primary_key.columns)

    @property
    def compared_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.columns if column.name not in self.own_columns)


@dataclass(frozen=True)
class Fold:
    """Handlers that apply events to the runtime's database, in the order of the events' times.

    An event may be applied twice.
    """

    subscriptions: Sequence[Subscription]
    finish: Callable[[AsyncSession], Awaitable[None]] = _no_finish
    """Called after all events were read, possibly more than once."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The part of a service's database that can be rebuilt from topics."""

    tables: tuple[ProjectedTable, ...]
    fold: Callable[[Any, Runtime], Fold]
    """Called with the settings and a runtime without side effects.

    Its outbox discards events, its publisher and the writes of its store raise `SideEffectError`, and its clock shows
    the time of the current record.
    """
    not_rebuilt: Mapping[str, str] = field(default_factory=dict)
    """Tables or columns (`table` or `table.column`) that no topic holds and a rebuild leaves unchanged → the reason."""
    read_tables: tuple[Table, ...] = ()
    """Live tables that the fold only reads: copied, never compared or written."""
    settings: type[RuntimeSettings] = RuntimeSettings

    @property
    def topics(self) -> tuple[Topic[Any], ...]:
        return tuple({topic.name: topic for table in self.tables for topic in table.topics}.values())
