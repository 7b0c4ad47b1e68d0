"""Status summary of a scan: where a scan is between photo and sample, and what to do when it is stuck."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from savo_contracts.scans import FailureCode
from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_REJECTED, SAMPLES_STORED, SCANS_CONFIRMED, SCANS_REQUESTED
from savo_gateway.scans.records import EventPosition, Scan, ScanStatus

__all__ = ["TraceSummary", "summarize"]

USUAL_TIME = timedelta(seconds=10)
"""Steps within this time need no action."""

NEXT_STEPS: dict[str, str] = {
    FailureCode.EXPIRED: "vision was too slow or not running: run `savo doctor`; the user may send the photo again",
    FailureCode.PHOTO_MISSING: "the photo is not in the object store: it was erased, or vision reads another "
    "bucket (R2_BUCKET_NAME); run `savo doctor`",
    FailureCode.PHOTO_UNREADABLE: "no action: the photo cannot be decoded; the user may send another",
    FailureCode.PROVIDER_REFUSED: "no action: the provider refused this photo; the user may send another",
    FailureCode.PROVIDER_FAILED: "read the provider's message in vision's log (scan.failed); `savo doctor` "
    "checks its key and address",
    FailureCode.BUDGET_EXHAUSTED: "raise SAVO_GOOGLE_DAILY_BUDGET_USD, or wait for midnight UTC",
}

OTHER_FAILURE = (
    "this gateway is older than the service that wrote this code: read vision's log (scan.failed), and "
    "upgrade the gateway"
)


@dataclass(frozen=True)
class TraceSummary:
    """Where a scan is, as a sentence. `next_step`: None where nothing needs to be done."""

    text: str
    next_step: str | None = None


def summarize(scan: Scan, positions: Sequence[EventPosition], now: datetime) -> TraceSummary:
    """The summary from what the gateway knows at `now`."""
    if scan.status is ScanStatus.FAILED and scan.error:
        return TraceSummary(
            f"failed: {scan.error.message} ({scan.error.code})", NEXT_STEPS.get(scan.error.code, OTHER_FAILURE)
        )
    if not scan.done:
        return _waiting(scan, positions, now)
    if scan.confirmation is None:
        return TraceSummary("answered; its user has not confirmed it yet")
    if not scan.confirmation.has_effect:
        return TraceSummary("answered; the early confirmation of its user does not fit the answer, and has no effect")
    if scan.consent is False:
        return TraceSummary("confirmed, but no training sample: its user gave no consent")
    return _confirmed(scan.confirmation.confirmed_at, positions, now)


def _waiting(scan: Scan, positions: Sequence[EventPosition], now: datetime) -> TraceSummary:
    published = _newest(positions, SCANS_REQUESTED.name)
    if published is None:
        return TraceSummary(
            f"accepted {_ago(scan.requested_at, now)}, not in Kafka yet",
            _if_overdue(scan.requested_at, now, _OUTBOX_STEP),
        )
    if now >= scan.expires_at:
        return TraceSummary(
            f"no answer by {scan.expires_at:%H:%M:%S}; the gateway fails it as expired within a minute",
            "run `savo doctor` to see whether vision is running, and `savo dlq list` for its dead letters",
        )
    position = f"{published.topic} {published.partition}/{published.offset}"
    return TraceSummary(
        f"in Kafka at {position} for {_seconds(published.published_at, now)}, no answer yet; "
        f"it expires {_in(scan.expires_at, now)}",
        _if_overdue(
            published.published_at,
            now,
            f"vision has not answered {position}: run `savo doctor` for its readiness and lag, "
            "then `savo dlq list` for its dead letters",
        ),
    )


def _confirmed(confirmed_at: datetime, positions: Sequence[EventPosition], now: datetime) -> TraceSummary:
    erased, stored, refused = (
        _newest(positions, topic.name) for topic in (SAMPLES_ERASED, SAMPLES_STORED, SAMPLES_REJECTED)
    )
    outcomes = sorted((entry for entry in (erased, stored, refused) if entry), key=lambda entry: entry.published_at)
    if outcomes and outcomes[-1] is stored:
        return TraceSummary("confirmed, and a training sample")
    if outcomes and outcomes[-1] is refused:
        return TraceSummary(f"confirmed, but no training sample: {outcomes[-1].note}")
    if outcomes:
        return TraceSummary("confirmed, but its training sample was deleted")
    if _newest(positions, SCANS_CONFIRMED.name) is None:
        return TraceSummary(
            "confirmed; the confirmation is not in Kafka yet", _if_overdue(confirmed_at, now, _OUTBOX_STEP)
        )
    return TraceSummary(
        "confirmed; the collector has not published an outcome yet",
        _if_overdue(
            confirmed_at,
            now,
            "it publishes none with SAVO_COLLECT_TRAINING_DATA=false or without consent; "
            "otherwise run `savo doctor` and `savo dlq list`",
        ),
    )


_OUTBOX_STEP = "the outbox keeps it until Kafka accepts it: `savo doctor` shows whether Kafka answers"


def _newest(positions: Iterable[EventPosition], topic: str) -> EventPosition | None:
    return max(
        (entry for entry in positions if entry.topic == topic), key=lambda entry: entry.published_at, default=None
    )


def _if_overdue(since: datetime, now: datetime, step: str) -> str | None:
    return step if now - since > USUAL_TIME else None


def _seconds(since: datetime, now: datetime) -> str:
    return f"{max(0.0, (now - since).total_seconds()):.0f} s"


def _ago(since: datetime, now: datetime) -> str:
    return f"{_seconds(since, now)} ago"


def _in(moment: datetime, now: datetime) -> str:
    return f"in {_seconds(now, moment)}"
