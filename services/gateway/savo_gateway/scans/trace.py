"""Where a scan stands on its way from photo to sample, and what to do when it goes no further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from savo_contracts.scans import FailureCode
from savo_contracts.topics import SAMPLES_ERASED, SAMPLES_REJECTED, SAMPLES_STORED, SCANS_CONFIRMED, SCANS_REQUESTED
from savo_gateway.scans.acceptance import Scan, ScanStatus

__all__ = ["Passage", "Standing", "standing_of"]

SOON = timedelta(seconds=10)
"""What takes no longer needs nobody's hand."""

NEXT_STEPS = {
    FailureCode.EXPIRED: "vision took too long or was away: `savo doctor`; the user may send the photo again",
    FailureCode.PHOTO_MISSING: "the photo is not in the object store: was it erased, or does vision read another bucket (R2_BUCKET_NAME)? `savo doctor`",
    FailureCode.PHOTO_UNREADABLE: "nothing to mend here: the photo cannot be decoded; the user may send another",
    FailureCode.PROVIDER_REFUSED: "nothing to mend here: the provider would not look at this photo; the user may send another",
    FailureCode.PROVIDER_FAILED: "look for the provider's own words in vision's log (scan.failed); `savo doctor` checks its key and address",
    FailureCode.BUDGET_EXHAUSTED: "raise SAVO_GOOGLE_DAILY_BUDGET_USD, or wait for midnight UTC",
}


@dataclass(frozen=True)
class Passage:
    """One event of a scan and where it stands in Kafka."""

    topic: str
    partition: int
    offset: int
    event_id: str
    published_at: datetime
    heard_at: datetime
    """When the gateway heard of it, or was told that Kafka has it."""
    note: str = ""
    """The one thing of the event that explains it, such as the reason of a refusal."""


@dataclass(frozen=True)
class Standing:
    """In words for a person at night. `next_step` is None where nothing needs doing."""

    words: str
    next_step: str | None = None


def standing_of(scan: Scan, passages: Sequence[Passage], now: datetime) -> Standing:
    """By what the gateway knows at `now`."""
    if scan.status is ScanStatus.FAILED and scan.error:
        return Standing(f"failed: {scan.error.message} ({scan.error.code.value})", NEXT_STEPS[scan.error.code])
    if not scan.done:
        return _waiting(scan, passages, now)
    if scan.confirmation is None:
        return Standing("answered; its user has not confirmed it yet")
    if not scan.confirmation.counts:
        return Standing("answered; what its user had said before does not fit the answer, and counts for nothing")
    if scan.consent is False:
        return Standing("confirmed, but no training sample: its user gave no consent")
    return _confirmed(scan.confirmation.confirmed_at, passages, now)


def _waiting(scan: Scan, passages: Sequence[Passage], now: datetime) -> Standing:
    published = _last(passages, SCANS_REQUESTED.name)
    if published is None:
        return Standing(f"accepted {_ago(scan.requested_at, now)}, not in Kafka yet", _unless_soon(scan.requested_at, now, _KAFKA_AWAY))
    if now >= scan.expires_at:
        return Standing(
            f"nobody answered it by {scan.expires_at:%H:%M:%S}; the gateway gives it up within the minute",
            "is vision running? `savo doctor`; `savo dlq list` shows whether vision set the record aside",
        )
    place = f"{published.topic} {published.partition}/{published.offset}"
    return Standing(
        f"in Kafka at {place} for {_seconds(published.published_at, now)}, no answer yet; it expires {_in(scan.expires_at, now)}",
        _unless_soon(
            published.published_at, now, f"vision has not answered {place}: `savo doctor` (is it ready? its lag?), then `savo dlq list` for what it set aside"
        ),
    )


def _confirmed(confirmed_at: datetime, passages: Sequence[Passage], now: datetime) -> Standing:
    erased, stored, refused = (_last(passages, topic.name) for topic in (SAMPLES_ERASED, SAMPLES_STORED, SAMPLES_REJECTED))
    ends = sorted((end for end in (erased, stored, refused) if end), key=lambda end: end.published_at)
    if ends and ends[-1] is stored:
        return Standing("confirmed, and a training sample")
    if ends and ends[-1] is refused:
        return Standing(f"confirmed, but no training sample: {ends[-1].note}")
    if ends:
        return Standing("its sample was taken out again")
    if _last(passages, SCANS_CONFIRMED.name) is None:
        return Standing("confirmed; the confirmation is not in Kafka yet", _unless_soon(confirmed_at, now, _KAFKA_AWAY))
    return Standing(
        "confirmed; the collector has not said what became of it",
        _unless_soon(confirmed_at, now, "it says nothing with SAVO_COLLECT_TRAINING_DATA=false or without consent; else `savo doctor` and `savo dlq list`"),
    )


_KAFKA_AWAY = "the outbox keeps it until Kafka takes it: `savo doctor` says whether Kafka answers"


def _last(passages: Iterable[Passage], topic: str) -> Passage | None:
    return max((one for one in passages if one.topic == topic), key=lambda one: one.published_at, default=None)


def _unless_soon(since: datetime, now: datetime, step: str) -> str | None:
    return step if now - since > SOON else None


def _seconds(since: datetime, now: datetime) -> str:
    return f"{max(0.0, (now - since).total_seconds()):.0f} s"


def _ago(since: datetime, now: datetime) -> str:
    return f"{_seconds(since, now)} ago"


def _in(moment: datetime, now: datetime) -> str:
    return f"in {_seconds(now, moment)}"
