"""Data types of a person's consent to training with their photos."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["DEFAULT_RETENTION_DAYS", "Consent", "ConsentChoice", "effective_consent"]

DEFAULT_RETENTION_DAYS = 90


@dataclass(frozen=True)
class ConsentChoice:
    """What a person decides."""

    given: bool
    """False: withdrawn."""
    text_version: str | None = None
    """Version of the text that the person agreed to."""
    retention_days: int = DEFAULT_RETENTION_DAYS
    """Days that the person allows samples to be kept."""


@dataclass(frozen=True)
class Consent:
    """A person's newest choice."""

    choice: ConsentChoice
    changed_at: datetime


def effective_consent(of_scan: bool | None, of_person: bool | None) -> bool | None:
    """The consent of a confirmation: no wins over yes; None where the person was never asked."""
    if of_scan is False or of_person is False:
        return False
    return of_scan or of_person
