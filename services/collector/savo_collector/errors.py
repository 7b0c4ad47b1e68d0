"""Exceptions that end a collection: rejected photo, erased scan.

RejectedError    the photo is rejected, for now or for good: answered with `samples.rejected`
ErasedError      the scan or its subject was erased: nothing may be stored, and no event is published
"""

from __future__ import annotations

from enum import StrEnum

from savo_contracts.samples import RejectionReason

__all__ = ["ErasedError", "ErasureCause", "RejectedError"]


class ErasureCause(StrEnum):
    """Why a sample is erased or withdrawn."""

    SCAN = "scan"
    """Its scan was erased."""
    SUBJECT = "subject"
    """Its subject was erased."""
    CONSENT = "consent"
    """A later confirmation revoked the consent."""
    LABELS = "labels"
    """A later confirmation gives no usable labels."""


class RejectedError(Exception):
    """A photo is rejected. `detail` holds the measured figure and its limit, in at most 500 characters."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail[:500]


class ErasedError(Exception):
    """The scan or its subject (`cause`) is in the list of erasures."""

    def __init__(self, scan_id: str, cause: ErasureCause) -> None:
        super().__init__(f"scan {scan_id} was erased")
        self.scan_id = scan_id
        self.cause = cause
