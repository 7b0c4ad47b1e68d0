"""Rows of scans and confirmations for analysts, page by page, without people who withdrew their consent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from sqlalchemy import join, or_, select, tuple_

from savo_contracts.documents import ConfirmationTableRow, ScanTableRow
from savo_gateway.adapters.tables import ConfirmationRow, ConsentRow, ScanRow
from savo_runtime.database import Database

__all__ = ["SqlTableRows"]

_PAGE = 500
_ALLOWED = or_(ConsentRow.given.is_(None), ConsentRow.given.is_(True))
_SCANS = join(ScanRow, ConsentRow, ConsentRow.subject == ScanRow.subject, isouter=True)
_CONFIRMATIONS = join(ConfirmationRow, _SCANS, ScanRow.scan_id == ConfirmationRow.scan_id)


@dataclass(frozen=True)
class SqlTableRows:
    """Implements `TableRows` of the export routes."""

    database: Database

    async def scans(self) -> AsyncIterator[ScanTableRow]:
        after = ""
        while True:
            query = select(ScanRow).select_from(_SCANS).where(_ALLOWED, ScanRow.scan_id > after)
            async with self.database.session(read_only=True) as session:
                page = list(await session.scalars(query.order_by(ScanRow.scan_id).limit(_PAGE)))
            for row in page:
                yield _scan(row)
            if len(page) < _PAGE:
                return
            after = page[-1].scan_id

    async def confirmations(self) -> AsyncIterator[ConfirmationTableRow]:
        key = tuple_(ConfirmationRow.scan_id, ConfirmationRow.revision)
        after = ("", 0)
        while True:
            query = select(ConfirmationRow).select_from(_CONFIRMATIONS).where(_ALLOWED, key > tuple_(*after))
            async with self.database.session(read_only=True) as session:
                page = list(
                    await session.scalars(
                        query.order_by(ConfirmationRow.scan_id, ConfirmationRow.revision).limit(_PAGE)
                    )
                )
            for row in page:
                for item in _items(row):
                    yield item
            if len(page) < _PAGE:
                return
            after = (page[-1].scan_id, page[-1].revision)


def _scan(row: ScanRow) -> ScanTableRow:
    result = row.result or {}
    names = ("experiment", "assigned_arm", "served_by", "model_version", "fallback_reason", "duration_ms")
    return ScanTableRow(
        scan_id=row.scan_id,
        subject=row.subject,
        anonymous=row.anonymous,
        status=row.status,
        storage_location=row.storage_location,
        image_sha256=row.image["sha256"],
        image_bytes=row.image["bytes"],
        width=row.image["width"],
        height=row.image["height"],
        **{name: result.get(name) for name in names},
        items=len(result["items"]) if "items" in result else None,
        cost_usd=row.cost_usd,
        error_code=row.error_code,
        edited=row.edited,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
        confirmed_at=row.confirmed_at,
    )


def _items(row: ConfirmationRow) -> Iterator[ConfirmationTableRow]:
    request = row.request
    confirmation = ConfirmationTableRow(
        scan_id=row.scan_id,
        revision=row.revision,
        published=row.published,
        confirmed_at=row.confirmed_at,
        all_correct=bool(request.get("all_correct")),
        nothing_missing=request.get("nothing_missing"),
    )
    items = request.get("items") or ()
    if not items:
        yield confirmation
    for number, item in enumerate(items):
        box = item.get("bbox") or {}
        names = ("action", "label", "from_label", "quantity_estimate", "storage_hint")
        values = {name: item.get(name) for name in names} | {side: box.get(side) for side in _SIDES}
        yield confirmation.model_copy(update={"item": number, **values})


_SIDES = ("x", "y", "width", "height")
