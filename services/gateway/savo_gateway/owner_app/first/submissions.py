"""Photos and corrections that the app sends to /training: a stored photo, and a confirmation of a scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from savo_contracts.confidence import scan_confidence
from savo_contracts.scans import Arm, ScanCompleted, ServedBy
from savo_gateway.access.records import Person
from savo_gateway.confirmations.confirmation import ConfirmScan
from savo_gateway.confirmations.records import ConfirmationRequest, ReportedPhoto
from savo_gateway.errors import PhotoNotFoundError
from savo_gateway.owner_app.first.report import Report
from savo_gateway.owner_app.records import Sender
from savo_gateway.photos.storage import StorePhoto
from savo_gateway.ports import AppScans, ConsentStore, ReportedScans, ScanStore
from savo_gateway.scans.records import Scan
from savo_gateway.users.consent import effective_consent

__all__ = ["CollectionPolicy", "StoreReportedPhoto", "Submission", "SubmitReport"]

REPORTED_MODEL = "app-reported"
"""Model version of results that the app reports. They belong to no experiment, so they are no evidence."""


@dataclass(frozen=True)
class CollectionPolicy:
    """Whether the collector makes samples of confirmed scans: its own settings, read for the app's answers."""

    consents: ConsentStore
    collects: bool
    requires_consent: bool = False

    async def refusal(self, person: Person | None, of_scan: bool | None = None) -> str | None:
        """Why a photo becomes no sample, for a person; None where it may become one. `of_scan`: the scan's consent."""
        if not self.collects:
            return "training data is not collected at present"
        chosen = await self.consents.consent_of(person) if person else None
        consent = effective_consent(of_scan, chosen.choice.given if chosen else None)
        if consent is False or (self.requires_consent and not consent):
            return "there is no consent to train with this photo"
        return None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of a photo or of corrections that the app sent."""

    scan_id: str
    """As the app named it; a new one where it named none."""
    image_hash: str
    """SHA-256 of what the phone sent."""
    path: str = ""
    """Key of the stored photo; empty where none is kept."""
    stored: bool
    message: str
    scan: Scan | None = None


@dataclass(frozen=True)
class StoreReportedPhoto:
    """POST /training/upload-image: stores a photo without starting a scan."""

    store_photo: StorePhoto
    reported: ReportedScans
    policy: CollectionPolicy
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    async def __call__(self, data: bytes, client_scan_id: str | None, person: Person | None) -> Submission:
        """The answer's scan id is the one for the corrections.

        Raises `UploadRefusedError` and `InvalidRequestError`.
        """
        scan_id = self.new_id()
        answered_id, image_hash = client_scan_id or scan_id, sha256(data).hexdigest()
        if refusal := await self.policy.refusal(person):
            message = f"{refusal}; the photo was not kept"
            return Submission(scan_id=answered_id, image_hash=image_hash, stored=False, message=message)
        photo = await self.store_photo(data)
        await self.reported.store_reported_photo(scan_id, photo, person, self.clock(), client_scan_id=client_scan_id)
        return Submission(
            scan_id=answered_id, image_hash=image_hash, path=photo.ref.key, stored=True, message="the photo is stored"
        )


@dataclass(frozen=True)
class SubmitReport:
    """POST /training/submit: corrections become a confirmation, of a scan here or of a result that the app reports."""

    scans: ScanStore
    app_scans: AppScans
    reported: ReportedScans
    confirm: ConfirmScan
    policy: CollectionPolicy
    clock: Callable[[], datetime]
    new_id: Callable[[], str]

    async def __call__(self, report: Report, sender: Sender, device_info: str | None) -> Submission:
        """Raises `PhotoNotFoundError`, `InvalidRequestError`, `ScanFailedError`."""
        scan = await self.app_scans.find(sender.reference(report.scan_id, report.image_hash))
        refusal = await self.policy.refusal(sender.person, scan.consent if scan else None)
        if scan is not None:
            return self._submission(report, await self._confirm(report, scan), refusal)
        if refusal:  # without a sample, a result that is not ours is of no use
            return self._submission(report, None, refusal)
        return self._submission(report, await self._add(report, sender, device_info), None)

    async def _confirm(self, report: Report, found: Scan) -> Scan:
        report.check_photo(found)
        if report.scan_id not in (found.scan_id, found.client_scan_id):
            await self.app_scans.keep_client_scan_id(found.scan_id, report.scan_id)
        scan = await self.scans.find(found.scan_id) or found
        request = ConfirmationRequest(items=report.edits_of(scan))
        return await self.confirm(scan.scan_id, request)

    async def _add(self, report: Report, sender: Sender, device_info: str | None) -> Scan:
        photo = await self.reported.reported_photo(report.image_hash, report.scan_id, sender.person)
        if photo is None:
            raise PhotoNotFoundError(report.image_hash)
        report.check_size(photo.image)
        scan_id = photo.scan_id or self.new_id()
        await self.reported.add_reported(
            _reported_result(report, photo, scan_id, self.clock()),
            client_scan_id=report.scan_id if report.scan_id != scan_id else None,
            upload_sha256=photo.upload_sha256,
            storage_location=report.storage_location,
            device_info=device_info,
            open_access=sender.open_access,
        )
        return await self.confirm(scan_id, ConfirmationRequest(items=report.edits()))

    def _submission(self, report: Report, scan: Scan | None, refusal: str | None) -> Submission:
        confirmed = "the corrections are stored" if scan else "the corrections were not kept"
        return Submission(
            scan_id=report.scan_id,
            image_hash=report.image_hash,
            stored=refusal is None,
            message=f"{confirmed}: {refusal}" if refusal else confirmed,
            scan=scan,
        )


def _reported_result(report: Report, photo: ReportedPhoto, scan_id: str, now: datetime) -> ScanCompleted:
    detections = report.detections()
    confidences = [detection.confidence for detection in detections]
    return ScanCompleted(
        scan_id=scan_id,
        subject=photo.subject,
        anonymous=photo.anonymous,
        image=photo.image,
        experiment=None,
        assigned_arm=Arm.BASELINE,
        served_by=ServedBy.GOOGLE,
        model_version=REPORTED_MODEL,
        bucket=0,
        share=0.0,
        items=detections,
        scan_confidence=scan_confidence(confidences),
        duration_ms=0.0,
        cost_usd=0.0,
        requested_at=photo.uploaded_at,
        completed_at=now,
    )
