"""`savo export --tables`: scans and confirmations as Parquet files, in row groups of 10,000."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import httpx2

from savo_cli.gateway import Gateway
from savo_contracts.documents import ConfirmationTableRow, ScanTableRow
from savo_contracts.envelope import Message
from savo_runtime.command_line.output import CommandError

__all__ = ["TABLES", "write_tables"]

TABLES: dict[str, type[Message]] = {"scans": ScanTableRow, "confirmations": ConfirmationTableRow}
_GROUP = 10_000


def write_tables(gateway: Gateway, folder: Path) -> dict[str, int]:
    """Write a file for each table, and return the numbers of rows. A file appears complete or not at all.

    Raises `CommandError` without pyarrow, for a refused request and for a lost connection.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise CommandError("--tables needs pyarrow: install savo with the extra parquet") from error
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, model in TABLES.items():
        schema, part = _schema(model, pa), folder / f"{name}.parquet.part"
        counts[name] = 0
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            for rows in _groups(gateway, name, model):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                counts[name] += len(rows)
        part.replace(folder / f"{name}.parquet")
    return counts


def _groups(gateway: Gateway, name: str, model: type[Message]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    try:
        with gateway.stream(f"/training/export/{name}", {}) as answer:
            for line in answer.iter_lines():
                rows.append(model.model_validate_json(line).model_dump())
                if len(rows) == _GROUP:
                    yield rows
                    rows = []
    except httpx2.ConnectError as error:
        raise gateway.no_answer(error) from error
    except httpx2.TransportError as error:
        raise CommandError(f"the connection was lost while {name} were read; run the same command again") from error
    if rows:
        yield rows


def _schema(model: type[Message], pa: ModuleType) -> Any:
    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    types[datetime] = pa.timestamp("us", tz="UTC")
    fields = []
    for name, info in model.model_fields.items():
        possible = get_args(info.annotation) or (info.annotation,)
        kind = next(types[each] for each in map(_plain, possible) if each in types)
        fields.append(pa.field(name, kind, nullable=type(None) in possible))
    return pa.schema(fields)


def _plain(annotation: Any) -> Any:
    """The type in an `Annotated` one; a moment is a time."""
    plain = getattr(annotation, "__origin__", annotation)
    return datetime if getattr(plain, "__name__", "") == "AwareDatetime" else plain
