"""/training/export routes for operators: the collected samples as an archive, scans and confirmations as rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Protocol

import structlog
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from savo_contracts.documents import ConfirmationTableRow, ScanTableRow, manifest_key
from savo_contracts.envelope import Message
from savo_contracts.ingredients import normalise
from savo_contracts.samples import Split
from savo_datasets.exports.layouts import Format
from savo_datasets.exports.sample_export import SampleExport, SampleIndex
from savo_datasets.exports.selection import MemberName, Selection, labels_by_id
from savo_gateway.errors import InvalidRequestError
from savo_gateway.http.dependencies import OpsCaller, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_runtime.storage.class_list import read_class_list
from savo_runtime.storage.port import ObjectStore

__all__ = ["ExportUseCases", "router"]

log = structlog.get_logger()

router = APIRouter(prefix="/training/export", tags=["training"], responses=PROBLEM_RESPONSES)

_LINES_SENT = 200
"""Rows that are sent together."""
FILE_NAME = "training_data.tar.gz"
SIZE_HEADER = "Savo-Export-Image-Bytes"
"""Bytes of all images without a filter: for a progress bar."""


class Table(StrEnum):
    """Tables for analysts."""

    SCANS = "scans"
    CONFIRMATIONS = "confirmations"


class TableRows(Protocol):
    """Rows in order of scan id, without people who withdrew their consent."""

    def scans(self) -> AsyncIterator[ScanTableRow]: ...

    def confirmations(self) -> AsyncIterator[ConfirmationTableRow]: ...


@dataclass(frozen=True, kw_only=True)
class ExportUseCases:
    """What these routes need."""

    store: ObjectStore
    samples: SampleIndex
    tables: TableRows
    clock: Callable[[], datetime]


Exports = Annotated[ExportUseCases, provided(ExportUseCases)]


@router.get(
    "",
    summary="The collected samples as a tar.gz",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/gzip": {}}, "description": "The archive; docs/export.md describes it."}},
)
async def export_samples(
    use: Exports,
    caller: OpsCaller,
    form: Annotated[Format, Query(alias="format", description="Format of the labels.")] = Format.YOLO,
    labels: Annotated[
        list[str] | None, Query(alias="class", max_length=200, description="Samples with a box of this class; repeat.")
    ] = None,
    box_source: Annotated[
        list[str] | None, Query(max_length=20, description="Samples with a box from this source; repeat.")
    ] = None,
    split: Annotated[list[Split] | None, Query(description="Samples of this split; repeat.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="First stored at this time or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="First stored before this time.")] = None,
    version: Annotated[
        str | None,
        Query(pattern=r"^ds-\d{6,}$", description="Samples of this data set version, with their labels of today."),
    ] = None,
    member: Annotated[
        str | None,
        Query(alias="from", max_length=120, description="Name of the gzip member from which a download continues."),
    ] = None,
) -> StreamingResponse:
    """Photos and label files as they are stored, in order of sha256, with a manifest.

    Erased samples, and those of people who withdrew their consent, are left out. With `from`, the archive continues at
    this gzip member: append it to the complete members before.
    """
    selection = Selection(
        labels=await _labels(labels or [], use.store),
        box_sources=frozenset(box_source or ()),
        splits=frozenset(each.value for each in split or ()),
        since=since,
        until=until,
        version=await _version(version, use.store),
        form=form,
    )
    resumed = _member_name(member, selection)
    export = SampleExport(use.store, use.samples, selection, use.clock, resumed)
    log.info("export.started", caller=caller.name, filters=selection.filters(), resumed=resumed is not None)
    headers = {
        "Content-Disposition": f'attachment; filename="{FILE_NAME}"',
        SIZE_HEADER: str(await use.samples.image_bytes()),
    }
    return StreamingResponse(export.stream(), media_type="application/gzip", headers=headers)


@router.get(
    "/{table}",
    summary="Scans or confirmations as NDJSON",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "A row in each line."}},
)
async def export_table(table: Table, use: Exports, caller: OpsCaller) -> StreamingResponse:
    """A row for each scan, or for each item of a confirmation as it was sent. `savo export --tables` writes Parquet."""
    log.info("export.started", caller=caller.name, filters={"table": [table.value]}, resumed=False)
    rows: AsyncIterator[Message] = use.tables.scans() if table is Table.SCANS else use.tables.confirmations()
    return StreamingResponse(_lines(rows), media_type="application/x-ndjson")


async def _lines(rows: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    batch: list[str] = []
    async for row in rows:
        batch.append(row.model_dump_json())
        if len(batch) == _LINES_SENT:
            yield ("\n".join(batch) + "\n").encode()
            batch.clear()
    if batch:
        yield ("\n".join(batch) + "\n").encode()


async def _labels(names: list[str], store: ObjectStore) -> frozenset[str]:
    """The classes' labels. Raises `InvalidRequestError` for a name that is no class."""
    if not names:
        return frozenset()
    classes, _ = await read_class_list(store)
    known = set(labels_by_id(classes).values())
    found = {name: label for name in names if (label := _label(name, known)) is not None}
    if missing := [name for name in names if name not in found]:
        allowed = ", ".join(sorted(known)[:20]) or "none yet"
        raise InvalidRequestError("class", f"{missing[0][:80]!r} is no class; there are {allowed}")
    return frozenset(found.values())


def _label(name: str, known: set[str]) -> str | None:
    if name in known:
        return name
    try:
        label = normalise(name).label
    except ValueError:
        return None
    return label if label in known else None


async def _version(name: str | None, store: ObjectStore) -> str | None:
    """Raises `InvalidRequestError` for a version that is not there."""
    if name is not None and await store.head(manifest_key(name)) is None:
        raise InvalidRequestError("version", f"there is no data set version {name}; `savo dataset list` lists them")
    return name


def _member_name(name: str | None, selection: Selection) -> MemberName | None:
    """Raises `InvalidRequestError`."""
    if name is None:
        return None
    try:
        member = MemberName.parse(name)
    except ValueError as error:
        raise InvalidRequestError("from", str(error)) from error
    if member.selection != selection.digest():
        raise InvalidRequestError("from", "the member belongs to an export with other filters or another format")
    return member
