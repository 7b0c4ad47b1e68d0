"""Bodies of HTTP requests and answers. A scan has the same form everywhere: GET, `wait`, events, `savo scan --json`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Alternative, Arm, ConfirmedItem, Detection, ScanCompleted, StorageLocation
from savo_gateway.scans.records import SCAN_ID, Confirmation, EventPosition, RefusedConfirmation, Scan, ScanStatus

__all__ = ["ConfirmationView", "PhotoForm", "RecordView", "ScanForm", "ScanPage", "ScanTrace", "ScanView"]

PLAIN_TEXT = r"^[^\x00-\x1f\x7f]*$"
"""No control characters: PostgreSQL stores no NUL, and no name has any of the others."""

Name = Annotated[str | None, Field(default=None, min_length=1, max_length=200, pattern=PLAIN_TEXT)]


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


class PhotoForm(BaseModel):
    """Fields beside a photo that starts no scan."""

    user_id: Name
    device_id: Name
    scan_id: Annotated[
        str | None,
        Field(
            default=None,
            pattern=SCAN_ID,
            description="The id that POST /training/submit will name: of a scan, or any id of the app's own. "
            "Unset: a new id. An id that belongs to another photo is refused.",
        ),
    ]


class ScanForm(BaseModel):
    """Fields beside a photo to scan."""

    user_id: Name
    device_id: Name
    storage_location: Annotated[StorageLocation | None, BeforeValidator(_lowered)] = None
    consent: bool | None = None
    captured_at: AwareDatetime | None = None
    device_info: str | None = Field(default=None, max_length=2000, pattern=PLAIN_TEXT)


class ItemView(BaseModel):
    """An ingredient that was detected."""

    label: str
    name: str
    confidence: float
    bbox: BoundingBox | None
    quantity_estimate: float | None
    storage_hint: StorageLocation | None
    alternatives: list[Alternative] = Field(
        default_factory=list,
        description="What the item may be instead, the most likely first, at most 3 and each above 0.05.",
    )

    @classmethod
    def of(cls, item: Detection) -> Self:
        return cls(**{name: getattr(item, name) for name in cls.model_fields})


class ResultView(BaseModel):
    """What was detected, by which route, how fast and at what cost."""

    items: list[ItemView]
    experiment: str | None
    assigned_arm: Arm
    served_by: str = Field(description="`custom`, or the provider's name.")
    model_version: str
    fallback_reason: str | None
    duration_ms: float
    cost_usd: float

    @classmethod
    def of(cls, result: ScanCompleted) -> Self:
        route = {name: getattr(result, name) for name in cls.model_fields if name != "items"}
        return cls(items=[ItemView.of(item) for item in result.items], **route)


class ErrorView(BaseModel):
    """Why a scan failed."""

    code: str
    message: str


class FieldErrorView(BaseModel):
    """A field with its error."""

    field: str
    message: str


class RefusedConfirmationView(BaseModel):
    """A confirmation that came before the result and does not fit it."""

    revision: int
    errors: list[FieldErrorView]


class ConfirmationView(BaseModel):
    """A user's confirmation: all revisions merged, the newest edit of each item counts."""

    revision: int
    status: Literal["published", "waiting", "refused"] = Field(
        description="waiting: it came before the result, and is kept until then. refused: it came before the result "
        "and does not fit it, so it has no effect."
    )
    items: list[ConfirmedItem]
    nothing_missing: bool
    confirmed_at: datetime
    unspoken: list[str] = Field(
        description="Labels of the answer that no edit names: neither right nor wrong, and in no sample."
    )
    refused: list[RefusedConfirmationView] = Field(
        description="Confirmations that came before the result and do not fit it, with the errors."
    )

    @classmethod
    def of(cls, confirmation: Confirmation) -> Self:
        return cls(
            revision=confirmation.revision,
            status="published" if confirmation.published else "waiting" if confirmation.has_effect else "refused",
            items=list(confirmation.items),
            nothing_missing=confirmation.nothing_missing,
            confirmed_at=confirmation.confirmed_at,
            unspoken=list(confirmation.unspoken),
            refused=[_refused(refused) for refused in confirmation.refused],
        )


class ScanView(BaseModel):
    """One scan."""

    scan_id: str
    status: ScanStatus
    created_at: datetime
    result: ResultView | None
    ask_confirmation: bool = Field(
        description="Whether the app should ask its user to confirm or correct this answer. It is decided once, and "
        "false again after a confirmation. Any answer may be confirmed."
    )
    error: ErrorView | None
    confirmation: ConfirmationView | None
    links: dict[str, str]

    @classmethod
    def of(cls, scan: Scan) -> Self:
        return cls(
            scan_id=scan.scan_id,
            status=scan.status,
            created_at=scan.requested_at,
            result=ResultView.of(scan.result) if scan.result else None,
            ask_confirmation=scan.is_asked and scan.confirmation is None,
            error=ErrorView(code=scan.error.code, message=scan.error.message) if scan.error else None,
            confirmation=ConfirmationView.of(scan.confirmation) if scan.confirmation else None,
            links=_links(scan.scan_id),
        )


class ScanPage(BaseModel):
    """A page of a user's scans."""

    scans: list[ScanView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class Hop(BaseModel):
    """A step of the scan with its time."""

    hop: str
    at: datetime
    record: str | None = Field(default=None, description="`topic partition/offset` of its event.")


class RecordView(BaseModel):
    """An event of the scan, with its position in Kafka."""

    topic: str
    partition: int
    offset: int
    event_id: str
    published_at: datetime
    heard_at: datetime = Field(description="When the gateway read the event, or learned that Kafka has it.")
    note: str

    @classmethod
    def of(cls, entry: EventPosition) -> Self:
        return cls(**asdict(entry))


class ScanTrace(BaseModel):
    """Why this answer: the routing decision, and the time of each hop."""

    scan_id: str
    status: ScanStatus
    standing: str = Field(description="Where the scan is, as a sentence.")
    next_step: str | None = Field(description="What to do when the scan is stuck; null where nothing needs to be done.")
    experiment: str | None
    bucket: int | None
    share: float | None
    assigned_arm: Arm | None
    served_by: str | None
    model_version: str | None
    threshold: float | None = Field(
        description="The confidence under which the custom model is not trusted; null when it did not decide."
    )
    scan_confidence: float | None
    fallback_reason: str | None
    duration_ms: float | None
    stages_ms: dict[str, float] = Field(description="Milliseconds of vision's work by stage: decode, detect, provider.")
    image: dict[str, object]
    hops: list[Hop]
    records: list[RecordView]


def _refused(refused: RefusedConfirmation) -> RefusedConfirmationView:
    errors = [FieldErrorView(field=field, message=message) for field, message in refused.errors]
    return RefusedConfirmationView(revision=refused.revision, errors=errors)


def _links(scan_id: str) -> dict[str, str]:
    own = f"/v1/scans/{scan_id}"
    return {
        "self": own,
        "events": f"{own}/events",
        "photo": f"{own}/photo",
        "trace": f"{own}/trace",
        "confirmation": f"{own}/confirmation",
    }
