"""Reasons why a confirmed photo does not become a sample.

RejectedError     the photo is rejected, for now or for good: answered with `samples.rejected`
ErasedError      the scan or its subject was erased: nothing may be stored, and no event is published
"""

from __future__ import annotations

from savo_contracts.samples import RejectionReason

__all__ = ["ErasedError", "RejectedError"]


class RejectedError(Exception):
    """A photo is rejected. `detail` holds the measured figure and its limit, in at most 500 characters."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail[:500]


class ErasedError(Exception):
    """The scan or its subject is in the ledger of erasures."""

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"scan {scan_id} was erased")
        self.scan_id = scan_id
