"""/admin/review routes: engineers decide on photos with doubtful labels."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import ConfirmedItem, Detection
from savo_gateway.access.records import UNAUTHENTICATED, Person, Principal
from savo_gateway.confirmations.records import IngredientName
from savo_gateway.errors import InvalidRequestError
from savo_gateway.http.dependencies import OpsCaller, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.scan_routes import PHOTO_HEADERS, PHOTO_RESPONSE
from savo_gateway.label_quality.decisions import allowed_decisions, user_items
from savo_gateway.label_quality.records import Agreement, Decision, Proposal, Review, ReviewedItem, ReviewRequest
from savo_gateway.label_quality.reviews import DecideReview, QueuedPhoto, ShowReviewQueue
from savo_gateway.photos.storage import ReadPhoto
from savo_gateway.ports import Reviews, ScanStore
from savo_gateway.scans.records import SCAN_ID

__all__ = ["ReviewUseCases", "router"]

router = APIRouter(prefix="/admin/review", tags=["admin"], responses=PROBLEM_RESPONSES)

ReviewId = Annotated[str, Path(pattern=SCAN_ID, description="Id of an entry of the queue: its scan's id.")]


@dataclass(frozen=True, kw_only=True)
class ReviewUseCases:
    """The use cases of these routes."""

    show: ShowReviewQueue
    decide: DecideReview
    reviews: Reviews
    scans: ScanStore
    read_photo: ReadPhoto


Use = Annotated[ReviewUseCases, provided(ReviewUseCases)]


class AgreementView(BaseModel):
    """How far a person's labels agree with the reviewed ones. The person is a random subject."""

    subject: str
    reviews: int
    agreed: int = Field(description="Boxes that both have: of the same label, with an IoU of at least 0.5.")
    boxes: int = Field(description="Boxes that the person, the engineer or both have.")
    agreement: float | None = Field(description="agreed ÷ boxes, 0…1; null without boxes.")

    @classmethod
    def of(cls, agreement: Agreement) -> Self:
        return cls(
            subject=agreement.subject,
            reviews=agreement.reviews,
            agreed=agreement.agreed,
            boxes=agreement.boxes,
            agreement=None if agreement.share is None else round(agreement.share, 4),
        )


class ProposalView(BaseModel):
    """Boxes that the champion finds in a photo whose items have none."""

    model_version: str
    items: list[Detection]

    @classmethod
    def of(cls, proposal: Proposal) -> Self:
        return cls(model_version=proposal.model_version, items=list(proposal.items))


class QueuedPhotoView(BaseModel):
    """A photo that waits for a decision."""

    id: str
    reason: str = Field(description="needs-boxes, needs-class, split-conflict, contradicted, unsure, or a later value.")
    detail: str
    doubt: float = Field(description="0…1; 1: the photo is no sample until it is reviewed.")
    revision: int = Field(description="Of the confirmation that is doubtful.")
    queued_at: datetime
    items: list[ConfirmedItem] = Field(description="As the user confirmed them.")
    nothing_missing: bool
    proposal: ProposalView | None
    allowed: list[Decision]
    agreement: AgreementView | None = Field(description="Of the user's labels in earlier reviews.")
    photo: str

    @classmethod
    def of(cls, queued: QueuedPhoto) -> Self:
        entry, scan = queued.entry, queued.scan
        return cls(
            id=entry.scan_id,
            reason=entry.doubt.reason,
            detail=entry.doubt.detail,
            doubt=round(entry.doubt.score, 4),
            revision=entry.revision,
            queued_at=entry.queued_at,
            items=list(user_items(scan)),
            nothing_missing=bool(scan.confirmation and scan.confirmation.nothing_missing),
            proposal=ProposalView.of(entry.proposal) if entry.proposal else None,
            allowed=list(allowed_decisions(scan, entry)),
            agreement=AgreementView.of(queued.agreement) if queued.agreement else None,
            photo=f"/admin/review/{entry.scan_id}/photo",
        )


class ReviewPage(BaseModel):
    """A page of the queue, the greatest doubt first."""

    queue: list[QueuedPhotoView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")


class ReviewedItemForm(BaseModel):
    """An item that the photo shows."""

    model_config = ConfigDict(extra="forbid")

    label: IngredientName
    bbox: BoundingBox = Field(description="0…1 of the upright photo, x and y the top left corner.")


class DecisionForm(BaseModel):
    """An engineer's decision."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision = Field(
        description="accept: the labels are right, items without a box take the proposal's. correct: `items` replace "
        "the labels. reject: the photo is no training sample."
    )
    items: tuple[ReviewedItemForm, ...] | None = Field(
        default=None, max_length=300, description="Of `correct`: everything that the photo shows; empty for nothing."
    )
    nothing_missing: bool = Field(default=True, description="Of `correct`: false when the photo shows more.")
    revision: int | None = Field(
        default=None, ge=1, description="The revision that was seen. A newer one is a 409; unset does not check."
    )

    @model_validator(mode="after")
    def _items_of_a_correction(self) -> Self:
        if (self.items is not None) != (self.decision is Decision.CORRECT):
            raise ValueError("items belong to the decision `correct`, and only to it")
        return self

    def request(self) -> ReviewRequest:
        items = tuple(ReviewedItem(label=item.label, bbox=item.bbox) for item in self.items or ())
        return ReviewRequest(
            decision=self.decision, items=items, nothing_missing=self.nothing_missing, revision=self.revision
        )


class ReviewView(BaseModel):
    """A decision that was made."""

    id: str
    decision: Decision
    revision: int = Field(description="Of the confirmation that it published.")
    reviewer: str
    decided_at: datetime

    @classmethod
    def of(cls, review: Review) -> Self:
        return cls(
            id=review.scan_id,
            decision=review.request.decision,
            revision=review.revision,
            reviewer=review.reviewer,
            decided_at=review.decided_at,
        )


@router.get("", summary="Photos with doubtful labels, the greatest doubt first")
async def show_queue(
    use: Use,
    _caller: OpsCaller,
    cursor: Annotated[str | None, Query(max_length=300, description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ReviewPage:
    found = await use.show(after=_read_cursor(cursor) if cursor else None, limit=limit + 1)
    shown = found[:limit]
    return ReviewPage(
        queue=[QueuedPhotoView.of(queued) for queued in shown],
        next_cursor=_cursor(shown[-1]) if len(found) > limit else None,
    )


@router.get("/subjects", summary="How far people's labels agree with reviewed ones, the lowest agreement first")
async def show_agreements(
    use: Use, _caller: OpsCaller, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[AgreementView]:
    return [AgreementView.of(agreement) for agreement in await use.reviews.agreements(limit=limit)]


@router.get("/{review_id}/photo", summary="The photo of an entry", response_class=Response, responses=PHOTO_RESPONSE)
async def show_queued_photo(review_id: ReviewId, use: Use, _caller: OpsCaller) -> Response:
    scan = await use.show.scan_of(review_id)
    return Response(await use.read_photo(scan), headers=PHOTO_HEADERS, media_type=scan.image.media_type)


@router.post("/{review_id}", summary="Accept the labels, correct them, or reject the photo")
async def decide(review_id: ReviewId, form: DecisionForm, use: Use, caller: OpsCaller) -> ReviewView:
    """The decision is the scan's newest confirmation. The same request again gives the same answer."""
    return ReviewView.of(await use.decide(review_id, form.request(), await _reviewer(caller, use)))


async def _reviewer(caller: Principal, use: ReviewUseCases) -> str:
    """The caller's name; of a user the random subject only."""
    if caller is UNAUTHENTICATED or caller.user_id is None:
        return caller.name
    return f"subject:{await use.scans.subject_for(Person('user', caller.user_id), use.decide.clock())}"


def _cursor(queued: QueuedPhoto) -> str:
    text = f"{queued.entry.doubt.score!r}|{queued.entry.scan_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        score, scan_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("|")
        return float(score), scan_id
    except (ValueError, binascii.Error) as error:
        raise InvalidRequestError("cursor", _WRONG_CURSOR) from error


_WRONG_CURSOR = "this is not the next_cursor of an earlier answer; leave it out to start at the greatest doubt"
