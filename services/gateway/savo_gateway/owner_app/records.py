"""Data types of the app's calls: the scan that a submission means, a copied scan, and what open access has cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from savo_gateway.access.records import Person
from savo_gateway.scans.records import ScanDetails

__all__ = ["OpenAccessSpending", "ScanCopy", "ScanReference", "Sender"]


@dataclass(frozen=True, kw_only=True)
class ScanReference:
    """How the app names a scan: by our id, by its own, or by the photo's hash."""

    scan_id: str
    """Of the answer to its scan, or the phone's own."""
    image_hash: str
    """SHA-256 of what the phone sent, lower-case hex."""
    person: Person | None = None
    anonymous_too: bool = True
    """Whether a scan that names no person may be meant: not where the caller is signed in as a user."""
    open_access_only: bool = False
    """Whether the caller has no key, and so reaches no other scan than those without a key."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who sends a photo or a submission."""

    person: Person | None
    signed_in: bool = False
    """The caller is this user, and reaches no other person's scans."""
    open_access: bool = False
    """The caller has no key (SAVO_APP_ANONYMOUS)."""

    def reference(self, scan_id: str, image_hash: str) -> ScanReference:
        """The scan that this sender names."""
        return ScanReference(
            scan_id=scan_id,
            image_hash=image_hash,
            person=self.person,
            anonymous_too=not self.signed_in,
            open_access_only=self.open_access,
        )


@dataclass(frozen=True, kw_only=True)
class ScanCopy:
    """A frame that looks like the photo of a scan, to be written with the items of that scan."""

    scan_id: str
    upload_sha256: str
    details: ScanDetails
    requested_at: datetime


@dataclass(frozen=True)
class OpenAccessSpending:
    """Scans without a key since the start of the day."""

    cost_usd: float
    finished: int
    queued: int
