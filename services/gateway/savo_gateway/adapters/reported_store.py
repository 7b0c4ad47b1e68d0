"""Photos and results that the app reports without a scan, in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ScanCompleted, StorageLocation
from savo_gateway.access.records import Person
from savo_gateway.adapters.rows import subject_for
from savo_gateway.adapters.tables import PhotoOwnerRow, ReportedPhotoRow, ScanRow, SubjectRow
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

    async def store_reported_photo(self, scan_id: str, photo: Photo, person: Person | None, now: datetime) -> None:
        image = photo.ref.model_dump(mode="json")
        async with self.database.session() as session:
            await _refuse_another_photo(session, scan_id, photo.sha256)
            subject, anonymous = await subject_for(session, person, now)
            row = {
                "scan_id": scan_id,
                "sha256": photo.sha256,
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
            reported = await session.get(ReportedPhotoRow, scan_id)
            if reported is None or reported.sha256 != image_hash:
                return await _owned_photo(session, image_hash, person) if person else None
            if reported.anonymous and person:
                await _claim(session, reported, person)
            elif not reported.anonymous and (person is None or await _subject_of(session, person) != reported.subject):
                return None
            return ReportedPhoto(
                image=ImageRef.model_validate(reported.image),
                subject=reported.subject,
                anonymous=reported.anonymous,
                uploaded_at=reported.uploaded_at,
            )

    async def add_reported(
        self, result: ScanCompleted, storage_location: StorageLocation | None, device_info: str | None
    ) -> None:
        values = {
            "scan_id": result.scan_id,
            "subject": result.subject,
            "anonymous": result.anonymous,
            "status": ScanStatus.COMPLETED.value,
            "image": result.image.model_dump(mode="json"),
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


async def _refuse_another_photo(session: AsyncSession, scan_id: str, sha256: str) -> None:
    reported = await session.get(ReportedPhotoRow, scan_id)
    scan = await session.get(ScanRow, scan_id)
    known = reported.sha256 if reported else scan.image["sha256"] if scan else sha256
    if known != sha256:
        raise InvalidRequestError(
            "scan_id", f"{scan_id!r} belongs to another photo; send another id, or none for a new one"
        )


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


async def _owned_photo(session: AsyncSession, image_hash: str, person: Person) -> ReportedPhoto | None:
    subject = await _subject_of(session, person)
    owned = await session.get(PhotoOwnerRow, (subject, image_hash)) if subject else None
    if owned is None:
        return None
    return ReportedPhoto(
        image=ImageRef.model_validate(owned.image),
        subject=owned.subject,
        anonymous=False,
        uploaded_at=owned.first_at,
    )


async def _subject_of(session: AsyncSession, person: Person) -> str | None:
    found: str | None = await session.scalar(
        select(SubjectRow.subject).where(SubjectRow.kind == person.kind, SubjectRow.reference == person.reference)
    )
    return found
