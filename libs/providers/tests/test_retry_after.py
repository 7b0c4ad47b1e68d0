"""Tests of the parsers of `Retry-After` and Google's `RetryInfo`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from savo_providers.retry_after import retry_after_seconds, retry_info_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
        ("", None),
        ("-5", None),
        ("\u00b2", None),
        ("1e9", None),
        ("nan", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, lambda: datetime(2026, 11, 23, 12, tzinfo=UTC)) == seconds


def body(*details: Any) -> dict[str, Any]:
    return {"error": {"code": 429, "message": "quota exceeded", "details": list(details)}}


def retry_info(delay: Any) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerDay"}]}


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (body(retry_info("20s")), 20.0),
        (body(QUOTA, retry_info("3.5s")), 3.5),
        (body(retry_info("0s")), 0.0),
        (body(retry_info("39600s")), 39600.0),
        (body(retry_info("20")), None),
        (body(retry_info("-1s")), None),
        (body(retry_info(20)), None),
        (body(retry_info(None)), None),
        (body(QUOTA), None),
        (body("20s", 7), None),
        ({"error": {"details": {"@type": "RetryInfo"}}}, None),
        ({"error": "quota"}, None),
        ([], None),
        (None, None),
    ],
)
def test_google_s_retry_info_is_seconds_in_an_error_s_details(answer: Any, seconds: float | None) -> None:
    assert retry_info_seconds(answer) == seconds
