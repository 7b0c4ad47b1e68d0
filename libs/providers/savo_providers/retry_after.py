"""Parsers of the wait that a provider asks for, in a header or in the body of an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

__all__ = ["retry_after_seconds", "retry_info_seconds"]

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")


def retry_after_seconds(header: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or an HTTP date (RFC 9110 section 10.2.3).

    None if the header is absent or has another form.
    """
    if header is None:
        return None
    if _SECONDS.fullmatch(header.strip()):
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now()).total_seconds())
    except (ValueError, TypeError):
        return None


def retry_info_seconds(body: Any) -> float | None:
    """Seconds of a `google.rpc.RetryInfo` in `error.details` of a JSON body, such as `"3.5s"`. None without one.

    Source: google/rpc/error_details.proto. A `Duration` in JSON is seconds with up to nine decimals and an `s`.
    """
    delays = [float(found[1]) for text in _retry_delays(body) if (found := _DURATION.fullmatch(text))]
    return max(delays, default=None)


def _retry_delays(body: Any) -> Iterator[str]:
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            yield str(detail.get("retryDelay", ""))
