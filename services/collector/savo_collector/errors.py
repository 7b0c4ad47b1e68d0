"""Why a confirmed photo is turned away.

RefusedError     the photo is no sample (now): answered with `samples.rejected`
ErasedError      its scan or its subject was erased: nothing may be kept, nothing is said
"""

from __future__ import annotations

from savo_contracts.samples import RejectionReason

__all__ = ["ErasedError", "RefusedError"]


class RefusedError(Exception):
    """Carries the reason, and in words the measured figure and the limit."""

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail[:500]


class ErasedError(Exception):
    """The ledger of the erased holds this scan or its subject."""

    def __init__(self, scan_id: str) -> None:
        super().__init__(f"scan {scan_id} was erased")
        self.scan_id = scan_id
