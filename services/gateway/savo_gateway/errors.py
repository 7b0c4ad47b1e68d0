"""Errors of HTTP requests: each has its status, its stable code and its message.

GatewayError                     code                      status
├── UploadRefusedError           upload-*                  413, 415, 422
├── InvalidRequestError          invalid-request           422   with the field
│   └── NotInAnswerError         invalid-request           422   with the items, and the labels that are allowed
├── ScanNotFoundError            scan-not-found            404   also for another user's scan
├── PhotoNotFoundError           photo-not-found           404
├── PhotoGoneError               photo-gone                404   the scan exists, its photo was erased
├── ScanNotCompletedError        scan-not-completed        409
├── ScanFailedError              scan-failed               409
├── AnalysisFailedError          analysis-failed           422, 503
├── ScanUnansweredError          scan-unanswered           503
├── DigestSentError              digest-sent               409
├── ReviewNotFoundError          review-not-found          404
├── ReviewDecidedError           review-decided            409   with the decision that was made
├── ReviewOutdatedError          review-outdated           409   with the newest revision
├── DecisionNotAllowedError      decision-not-allowed      422   with the decisions that are allowed
├── IdempotencyKeyReusedError    idempotency-key-reused    422
├── IdempotencyInProgressError   idempotency-in-progress   409
├── UnauthorizedError            unauthorized              401
├── ForbiddenError               forbidden                 403
├── TooManyRequestsError         too-many-requests         429
├── DailyUploadsError            daily-uploads             429   without a key, by address
├── AppBudgetSpentError          app-budget-spent          429   without a key, of all callers
└── RolloutUnavailableError             rollout-away              503
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

__all__ = [
    "AnalysisFailedError",
    "AppBudgetSpentError",
    "DailyUploadsError",
    "DecisionNotAllowedError",
    "DigestSentError",
    "ForbiddenError",
    "GatewayError",
    "IdempotencyInProgressError",
    "IdempotencyKeyReusedError",
    "InvalidRequestError",
    "NotInAnswerError",
    "PhotoGoneError",
    "PhotoNotFoundError",
    "ReviewDecidedError",
    "ReviewNotFoundError",
    "ReviewOutdatedError",
    "RolloutUnavailableError",
    "ScanFailedError",
    "ScanNotCompletedError",
    "ScanNotFoundError",
    "ScanUnansweredError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UploadRefusal",
    "UploadRefusedError",
]


class GatewayError(Exception):
    """Base class. `extra`: members of the problem document beside type, title, status, detail and code."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra


class UploadRefusal(StrEnum):
    """Reason why an upload is refused. /training/progress counts refusals by it."""

    EMPTY = "upload-empty"
    TOO_LARGE = "upload-too-large"
    TOO_MANY_PIXELS = "upload-too-many-pixels"
    WRONG_TYPE = "upload-wrong-type"
    UNREADABLE = "upload-unreadable"
    TRUNCATED = "upload-truncated"


class UploadRefusedError(GatewayError):
    """The uploaded photo is not accepted."""

    title = "The photo was refused"

    def __init__(self, reason: UploadRefusal, detail: str, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.reason = reason
        # Code and status differ by reason, so they are set on the instance.
        self.code = reason.value  # type: ignore[misc]
        self.status = _UPLOAD_STATUS.get(reason, 422)  # type: ignore[misc]


_UPLOAD_STATUS = {UploadRefusal.TOO_LARGE: 413, UploadRefusal.TOO_MANY_PIXELS: 413, UploadRefusal.WRONG_TYPE: 415}


class InvalidRequestError(GatewayError):
    status = 422
    code = "invalid-request"
    title = "A field is not valid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])


class NotInAnswerError(InvalidRequestError):
    """A confirmation names an item that is not in the scan's result. `wrong`: pairs of a field and its error."""

    def __init__(self, wrong: Sequence[tuple[str, str]], allowed: Sequence[str]) -> None:
        (field, message), more = wrong[0], len(wrong) - 1
        errors = [{"field": field, "message": message} for field, message in wrong]
        detail = f"{field}: {message}" + (f" (and {more} more)" if more else "")
        GatewayError.__init__(self, detail, errors=errors, allowed=list(allowed))


class ScanNotFoundError(GatewayError):
    status = 404
    code = "scan-not-found"
    title = "There is no such scan"

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"there is no scan {scan_id!r}")


class PhotoNotFoundError(GatewayError):
    status = 404
    code = "photo-not-found"
    title = "There is no such photo"

    def __init__(self, image_hash: str) -> None:
        super().__init__(f"there is no photo {image_hash!r} of this user; send it to POST /training/upload-image first")


class PhotoGoneError(GatewayError):
    status = 404
    code = "photo-gone"
    title = "The photo was erased"

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"the photo of scan {scan_id!r} was erased; its result is kept until the scan is erased")


class ScanNotCompletedError(GatewayError):
    status = 409
    code = "scan-not-completed"
    title = "The scan has no result yet"

    def __init__(self, scan_id: str) -> None:
        super().__init__(
            f"scan {scan_id!r} has no result yet that `all_correct` could confirm; wait for it, or send items",
            retry_after=1,
        )


class ScanFailedError(GatewayError):
    status = 409
    code = "scan-failed"
    title = "The scan failed"

    def __init__(self, scan_id: str, reason: str) -> None:
        super().__init__(f"scan {scan_id!r} failed ({reason}), so there is nothing to confirm; upload the photo again")


class AnalysisFailedError(GatewayError):
    """The scan that a request waited for has no result. `retry`: whether the same photo may succeed later."""

    code = "analysis-failed"
    title = "The photo could not be analysed"

    def __init__(self, scan_id: str, reason: str, *, retry: bool) -> None:
        action = "try again" if retry else "take another photo"
        super().__init__(f"the photo could not be analysed ({reason}); {action}", scan_id=scan_id, reason=reason)
        # The app sends a request again after a 5xx alone.
        self.status = 503 if retry else 422  # type: ignore[misc]


class ScanUnansweredError(GatewayError):
    """The scan that a request waited for has no result yet."""

    status = 503
    code = "scan-unanswered"
    title = "The scan has no result yet"

    def __init__(self, scan_id: str) -> None:
        super().__init__(
            "the analysis takes longer than usual; send the same photo again to continue waiting for it",
            retry_after=1,
            scan_id=scan_id,
        )


class IdempotencyKeyReusedError(GatewayError):
    status = 422
    code = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another body; use a new key for each new photo")


class IdempotencyInProgressError(GatewayError):
    status = 409
    code = "idempotency-in-progress"
    title = "The first request with this Idempotency-Key is not answered yet"

    def __init__(self) -> None:
        super().__init__(
            "the first request with this Idempotency-Key is still in progress; send the request again after 1 s",
            retry_after=1,
        )


class DigestSentError(GatewayError):
    status = 409
    code = "digest-sent"
    title = "This week's digest was sent already"

    def __init__(self, week: str, at: datetime) -> None:
        super().__init__(f"the digest of {week} was sent at {at:%Y-%m-%d %H:%M} UTC", sent_at=at.isoformat())


class ReviewNotFoundError(GatewayError):
    status = 404
    code = "review-not-found"
    title = "This photo is not in the review queue"

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"the photo of scan {scan_id!r} is not in the review queue; GET /admin/review lists the queue")


class ReviewDecidedError(GatewayError):
    status = 409
    code = "review-decided"
    title = "This photo was reviewed already"

    def __init__(self, scan_id: str, decision: str, at: datetime) -> None:
        detail = f"scan {scan_id!r} was decided at {at:%Y-%m-%d %H:%M} UTC ({decision}); nothing was changed"
        super().__init__(detail, decision=decision, decided_at=at.isoformat())


class ReviewOutdatedError(GatewayError):
    status = 409
    code = "review-outdated"
    title = "The photo was confirmed again"

    def __init__(self, scan_id: str, revision: int) -> None:
        super().__init__(
            f"the user confirmed scan {scan_id!r} again, it has revision {revision}: read it and decide again",
            revision=revision,
        )


class DecisionNotAllowedError(GatewayError):
    status = 422
    code = "decision-not-allowed"
    title = "The photo cannot take this decision"

    def __init__(self, decision: str, problem: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{decision}: {problem}", allowed=list(allowed))


class UnauthorizedError(GatewayError):
    status = 401
    code = "unauthorized"
    title = "Authentication is required"


class ForbiddenError(GatewayError):
    status = 403
    code = "forbidden"
    title = "The caller may not do this"


class TooManyRequestsError(GatewayError):
    status = 429
    code = "too-many-requests"
    title = "Too many requests"

    def __init__(self, per_minute: int, retry_after: float) -> None:
        super().__init__(
            f"at most {per_minute} requests per minute are accepted from one caller; wait {math.ceil(retry_after)} s",
            retry_after=retry_after,
            limit={"requests_per_minute": per_minute},
        )


class DailyUploadsError(GatewayError):
    status = 429
    code = "daily-uploads"
    title = "This address has sent its photos of the day"

    def __init__(self, bytes_per_day: int, retry_after: float) -> None:
        super().__init__(
            f"without a key, one address may send {bytes_per_day / 1_000_000:g} MB a day; send more tomorrow (UTC)",
            retry_after=retry_after,
            limit={"bytes_per_day": bytes_per_day},
        )


class AppBudgetSpentError(GatewayError):
    status = 429
    code = "app-budget-spent"
    title = "The app's budget of the day is spent"

    def __init__(self, budget_usd: float, retry_after: float) -> None:
        super().__init__(
            f"scans without a key may cost ${budget_usd:g} a day (SAVO_APP_DAILY_BUDGET_USD), which is spent; "
            "scan again tomorrow (UTC)",
            retry_after=retry_after,
        )


class RolloutUnavailableError(GatewayError):
    status = 503
    code = "rollout-away"
    title = "The rollout service does not answer"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, retry_after=5)
