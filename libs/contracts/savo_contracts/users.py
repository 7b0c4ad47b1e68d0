"""User events: the erasure of a subject, the pseudonym of a person or device."""

from __future__ import annotations

from typing import ClassVar

from savo_contracts.envelope import Event, Moment, Subject


class SubjectErased(Event):
    """A subject is erased: every service deletes the subject's data and records the erasure in its ledger."""

    type: ClassVar[str] = "savo.subject.erased.v1"

    subject: Subject
    erased_at: Moment
