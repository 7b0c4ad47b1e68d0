"""Photos and results that the app reports without a scan, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ScanCompleted, StorageLocation
from savo_gateway.access.records import Person
from savo_gateway.adapters.rows import find_subject, subject_for
from savo_gateway.adapters.tables import PhotoOwnerRow, ReportedPhotoRow, ScanRow
from savo_gateway.confirmations.records import ReportedPhoto
from savo_gateway.errors import InvalidRequestError
from savo_gateway.photos.uploads import Photo
from savo_gateway.scans.records import ScanStatus
from savo_runtime.database import Database, insert_once

__all__ = ["SqlReportedScans"]


@dataclass(frozen=True)
class SqlReportedScans:
    """Implements `ports.ReportedScans`."""

    database: Database

    async def store_reported_photo(
        self, scan_id: str, photo: Photo, person: Person | None, now: datetime, *, client_scan_id: str | None = None
    ) -> None:
        image = photo.ref.model_dump(mode="json")
        async with self.database.session() as session:
            if client_scan_id and await _is_stored(session, client_scan_id, photo, person):
                return
            subject, anonymous = await subject_for(session, person, now)
            row = {
                "scan_id": scan_id,
                "client_scan_id": client_scan_id,
                "sha256": photo.sha256,
                "upload_sha256": photo.upload_sha256,
                "subject": subject,
                "anonymous": anonymous,
                "image": image,
                "uploaded_at": now,
            }
            if await insert_once(session, ReportedPhotoRow, row):
                await insert_once(
                    session,
                    PhotoOwnerRow,
                    {"subject": subject, "sha256": photo.sha256, "image": image, "first_at": now},
                )

    async def reported_photo(self, image_hash: str, scan_id: str, person: Person | None) -> ReportedPhoto | None:
        async with self.database.session() as session:
            subject = await find_subject(session, person) if person else None
            reported = await _named(session, scan_id, subject)
            # The hash is of what the phone sent, or of the stored bytes as earlier answers had it.
            if reported is None or image_hash not in (reported.upload_sha256, reported.sha256):
                return await _owned_photo(session, image_hash, subject) if subject else None
            if reported.anonymous and person:
                await _claim(session, reported, person)
            return ReportedPhoto(
                scan_id=reported.scan_id,
                image=ImageRef.model_validate(reported.image),
                upload_sha256=reported.upload_sha256,
                subject=reported.subject,
                anonymous=reported.anonymous,
                uploaded_at=reported.uploaded_at,
            )

    async def add_reported(
        self,
        result: ScanCompleted,
        *,
        client_scan_id: str | None,
        upload_sha256: str | None,
        storage_location: StorageLocation | None,
        device_info: str | None,
        open_access: bool = False,
    ) -> None:
        values = {
            "scan_id": result.scan_id,
            "subject": result.subject,
            "anonymous": result.anonymous,
            "status": ScanStatus.COMPLETED.value,
            "image": result.image.model_dump(mode="json"),
            "upload_sha256": upload_sha256,
            "client_scan_id": client_scan_id,
            "open_access": open_access,
            "storage_location": storage_location.value if storage_location else None,
            "device_info": device_info,
            "requested_at": result.requested_at,
            "expires_at": result.completed_at,
            "result": result.model_dump(mode="json"),
            "finished_at": result.completed_at,
            "changes": 0,
        }
        async with self.database.session() as session:
            await insert_once(session, ScanRow, values)


async def _named(
    session: AsyncSession, scan_id: str, subject: str | None, *conditions: ColumnElement[bool]
) -> ReportedPhotoRow | None:
    """The photo under this id, ours or the phone's: this subject's, else one that names no person."""
    by_id = or_(ReportedPhotoRow.client_scan_id == scan_id, ReportedPhotoRow.scan_id == scan_id)
    sender = or_(ReportedPhotoRow.subject == (subject or ""), ReportedPhotoRow.anonymous.is_(True))
    query = (
        select(ReportedPhotoRow)
        .where(by_id, sender, *conditions)
        .order_by(ReportedPhotoRow.anonymous, ReportedPhotoRow.uploaded_at.desc())
    )
    found: ReportedPhotoRow | None = await session.scalar(query.limit(1))
    return found


async def _is_stored(session: AsyncSession, client_scan_id: str, photo: Photo, person: Person | None) -> bool:
    """Whether this sender sent the photo under this id before. Raises `InvalidRequestError` for another photo."""
    subject = await find_subject(session, person) if person else None
    own = ReportedPhotoRow.anonymous.is_(False) if subject else ReportedPhotoRow.anonymous.is_(True)
    reported = await _named(session, client_scan_id, subject, own)
    of_scan = ScanRow.subject == subject if subject else ScanRow.anonymous.is_(True)
    by_id = or_(ScanRow.scan_id == client_scan_id, ScanRow.client_scan_id == client_scan_id)
    scan = await session.scalar(select(ScanRow).where(and_(by_id, of_scan)).limit(1))
    known = reported.sha256 if reported else scan.image["sha256"] if scan else photo.sha256
    if known != photo.sha256 and not (scan and scan.upload_sha256 == photo.upload_sha256):
        raise InvalidRequestError(
            "scan_id", f"{client_scan_id!r} belongs to another photo; send another id, or none for a new one"
        )
    return reported is not None


async def _claim(session: AsyncSession, reported: ReportedPhotoRow, person: Person) -> None:
    """Assign an anonymous photo to a person, who proves the upload by its scan id: only the uploader got it."""
    reported.subject, reported.anonymous = await subject_for(session, person, reported.uploaded_at)
    owner = {
        "subject": reported.subject,
        "sha256": reported.sha256,
        "image": reported.image,
        "first_at": reported.uploaded_at,
    }
    await insert_once(session, PhotoOwnerRow, owner)


async def _owned_photo(session: AsyncSession, image_hash: str, subject: str) -> ReportedPhoto | None:
    """The subject's photo under another id, by its hash as stored or as sent."""
    sent = select(ReportedPhotoRow.sha256).where(
        ReportedPhotoRow.subject == subject, ReportedPhotoRow.upload_sha256 == image_hash
    )
    sha256 = await session.scalar(sent.limit(1)) or image_hash
    owned = await session.get(PhotoOwnerRow, (subject, sha256))
    if owned is None:
        return None
    return ReportedPhoto(
        scan_id=None,
        image=ImageRef.model_validate(owned.image),
        upload_sha256=image_hash if image_hash != sha256 else None,
        subject=owned.subject,
        anonymous=False,
        uploaded_at=owned.first_at,
    )
