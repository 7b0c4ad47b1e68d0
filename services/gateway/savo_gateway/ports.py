"""Protocols of what the gateway's domain needs from outside. Adapters implement them, `app.py` connects them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from jwt import PyJWK

from savo_contracts.audit import AuditRecorded
from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesSuggested
from savo_contracts.samples import BoxesProposed, SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanCompleted, ScanFailed, StorageLocation
from savo_contracts.training import TrainingFinished
from savo_gateway.access.records import ApiKey, Person
from savo_gateway.confirmations.records import ConfirmationRequest, Confirmed, ReportedPhoto
from savo_gateway.figures.records import Figures, StoredFigures
from savo_gateway.label_quality.records import Agreement, CorrectionCount, QueueEntry, Review, ReviewRequest
from savo_gateway.owner_app.records import OpenAccessSpending, ScanCopy, ScanReference
from savo_gateway.photos.uploads import Photo
from savo_gateway.scans.records import AskLimits, EventPosition, IdempotencyClaim, NewScan, Scan
from savo_gateway.users.consent import Consent, ConsentChoice

__all__ = [
    "AppScans",
    "AuditLog",
    "ClassCounts",
    "ConsentStore",
    "CorrectionStore",
    "Digests",
    "EventPositions",
    "FeedbackStore",
    "FigureStore",
    "KeyStore",
    "Photos",
    "Projections",
    "RefusedUploads",
    "ReportedScans",
    "Reviews",
    "RolloutClient",
    "ScanStore",
    "SigningKeys",
]


class Photos(Protocol):
    """The part of the object store that stores photos and returns them."""

    async def put_if_absent(self, key: str, data: bytes, *, media_type: str = "application/octet-stream") -> bool: ...

    async def get(self, key: str) -> bytes:
        """Raises `ObjectNotFoundError`."""
        ...


class ScanStore(Protocol):
    """Scans with their confirmations and owners. Each call is one transaction, its events included."""

    async def claimed(self, claim: IdempotencyClaim) -> Scan | None:
        """The scan that an earlier request with this key created. Raises `IdempotencyKeyReusedError`."""
        ...

    async def accept(self, new: NewScan) -> Scan:
        """Write the scan and `ScanRequested`. Raises `IdempotencyKeyReusedError`."""
        ...

    async def find(self, scan_id: str) -> Scan | None: ...

    async def finished_among(self, scan_ids: Sequence[str]) -> Sequence[str]:
        """Ids of those that are completed or failed."""
        ...

    async def page(self, subject: str, *, before: tuple[datetime, str] | None, limit: int) -> Sequence[Scan]:
        """A subject's scans, newest first. `before`: (requested_at, scan_id) of the last scan of the page before."""
        ...

    async def history(self, person: Person, *, limit: int, offset: int) -> tuple[Sequence[Scan], int]:
        """A person's scans, newest first, and the number of all of them."""
        ...

    async def newest_of_photo(self, person: Person, upload_sha256: str) -> Scan | None:
        """The person's newest scan of a file with this hash, as it was received."""
        ...

    async def subject_of(self, person: Person) -> str | None: ...

    async def subject_for(self, person: Person, now: datetime) -> str:
        """The person's subject, created when there is none."""
        ...

    async def complete(
        self, completed: ScanCompleted, now: datetime, *, ask: AskLimits | None = None
    ) -> Confirmed | None:
        """Write the result, and publish an early confirmation that fits it.

        `ask`: the app should ask its user for a confirmation, unless one of these limits is reached.
        None when the scan is unknown or was completed or failed before.
        """
        ...

    async def fail(self, failed: ScanFailed, now: datetime) -> bool:
        """False when the scan is unknown or was completed or failed before."""
        ...

    async def confirm(self, scan_id: str, request: ConfirmationRequest, now: datetime) -> Confirmed:
        """Write the confirmation and, once there is a result, `ScanConfirmed`. The same request twice changes nothing.

        Raises `ScanNotFoundError`, `ScanFailedError`, `ScanNotCompletedError`, `NotInAnswerError`.
        """
        ...

    async def unfinished(self, *, expired_before: datetime | None = None, limit: int = 500) -> Sequence[Scan]:
        """Queued scans, by increasing expiry time."""
        ...

    async def republish(self, scan: Scan) -> None:
        """Publish `ScanRequested` again, with the same event id."""
        ...

    async def delete_claims(self, older_than: datetime) -> int:
        """Delete idempotency keys. Returns their number."""
        ...


class ReportedScans(Protocol):
    """Photos and results that the app sends by itself, without a scan by this product."""

    async def store_reported_photo(
        self, scan_id: str, photo: Photo, person: Person | None, now: datetime, *, client_scan_id: str | None = None
    ) -> None:
        """Raises `InvalidRequestError` when the phone's id belongs to another photo of the same sender."""
        ...

    async def reported_photo(self, image_hash: str, scan_id: str, person: Person | None) -> ReportedPhoto | None:
        """The photo, when it is this person's or came with this scan id, ours or the phone's."""
        ...

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
        """Add a scan with the app's own result, unless the scan exists."""
        ...


class ConsentStore(Protocol):
    """Consents of people to training."""

    async def consent_of(self, person: Person) -> Consent | None:
        """None where the person was never asked."""
        ...

    async def set_consent(self, person: Person, choice: ConsentChoice, now: datetime) -> Consent:
        """Write the choice and `ConsentChanged`. The same choice twice changes nothing."""
        ...


class AppScans(Protocol):
    """Scans as the owner's app names them."""

    async def find(self, reference: ScanReference) -> Scan | None:
        """By id, else the newest scan of this photo: the person's, else one that names no person."""
        ...

    async def keep_client_scan_id(self, scan_id: str, client_scan_id: str) -> None:
        """Keep the phone's id of a scan that has none yet."""
        ...

    async def copy(self, original: Scan, copy: ScanCopy) -> Scan:
        """Write a completed scan with the photo and the items of another. It is no evidence and cost nothing."""
        ...

    async def open_access_spending(self, since: datetime) -> OpenAccessSpending:
        """Of the scans without a key that were requested since then."""
        ...


class EventPositions(Protocol):
    """Positions of scans' events in Kafka."""

    async def of_scan(self, scan_id: str) -> Sequence[EventPosition]:
        """In order of publication."""
        ...


class FeedbackStore(Protocol):
    """What people of the app wrote about their scans."""

    async def add_feedback(self, scan: Scan, kind: str, content: Mapping[str, Any], now: datetime) -> None: ...

    async def reports_missing(self, scan_id: str) -> bool:
        """Whether the person reported that the photo shows more than the scan's items."""
        ...


class FigureStore(Protocol):
    """The projections that the statistics are computed from."""

    async def figures(self, today: datetime, week: datetime) -> StoredFigures: ...

    async def progress_figures(self, today: datetime, week: datetime, now: datetime) -> Figures: ...


class CorrectionStore(Protocol):
    """What people correct, by label, model version and week."""

    async def corrections_since(self, week: str) -> Sequence[CorrectionCount]:
        """Of the scans that were answered in this ISO week or later."""
        ...


class Reviews(Protocol):
    """The queue of doubtful photos, and the decisions on them. Each call is one transaction, its event included."""

    async def queue(self, *, after: tuple[float, str] | None, limit: int) -> Sequence[QueueEntry]:
        """The greatest doubt first. `after`: (score, scan_id) of the last entry of the page before."""
        ...

    async def find(self, scan_id: str) -> QueueEntry | None: ...

    async def decide(self, scan_id: str, request: ReviewRequest, reviewer: str, now: datetime) -> Review:
        """Write the decision and `ScanConfirmed`. The same request twice changes nothing.

        Raises `ReviewNotFoundError`, `ReviewDecidedError`, `ReviewOutdatedError`, `DecisionNotAllowedError`.
        """
        ...

    async def propose(self, proposed: BoxesProposed) -> None:
        """Keep the newest proposal for a photo. An older one changes nothing."""
        ...

    async def agreements(self, *, subjects: Collection[str] | None = None, limit: int = 100) -> Sequence[Agreement]:
        """The lowest agreement first. `subjects`: of these people alone."""
        ...


class ClassCounts(Protocol):
    """What is collected of each class."""

    async def boxes_by_label(self) -> Mapping[str, int]: ...


class RefusedUploads(Protocol):
    """Counts of refused photos, by reason, for /training/progress."""

    async def count_refused_upload(self, reason: str) -> None: ...


class Projections(Protocol):
    """Projections of other services' events. A repeated or older event changes nothing."""

    async def sample_stored(self, stored: SampleStored) -> None: ...

    async def sample_rejected(self, rejected: SampleRejected) -> None: ...

    async def sample_erased(self, erased: SampleErased) -> None: ...

    async def training_finished(self, finished: TrainingFinished) -> None: ...

    async def model_registered(self, model: ModelRegistered) -> None: ...

    async def recipes_suggested(self, suggested: RecipesSuggested) -> None: ...


class KeyStore(Protocol):
    """API keys."""

    async def add_key(self, key: ApiKey) -> None: ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...

    async def list_keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str, at: datetime) -> bool:
        """False for an unknown key, or one that was revoked before."""
        ...


class SigningKeys(Protocol):
    """Public keys of the tokens' issuer."""

    async def find(self, key_id: str | None) -> PyJWK | None:
        """The key with this id; None when the issuer does not publish it.

        Raises `DependencyDownError` where that cannot be known.
        """
        ...


class AuditLog(Protocol):
    """Actions of operators and services, with who did them."""

    async def add(self, entry: AuditRecorded, event_id: UUID) -> bool:
        """False when the entry was there already."""
        ...

    async def newest(
        self, limit: int, *, action: str | None = None, about: str | None = None, before: datetime | None = None
    ) -> Sequence[AuditRecorded]: ...


class Digests(Protocol):
    """Claims of weekly digests, so that one host sends each."""

    async def claim(self, week: str, now: datetime) -> None:
        """Raises `DigestSentError` when the week is claimed already."""
        ...

    async def release(self, week: str) -> None:
        """Release the claim of a digest that could not be sent."""
        ...


class RolloutClient(Protocol):
    """HTTP of the rollout service. Raises `RolloutUnavailableError`."""

    async def show(self) -> dict[str, Any]: ...

    async def change(self, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The rollout service's status code and answer."""
        ...
