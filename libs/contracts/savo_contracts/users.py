"""People, as far as events know them: a random subject, and its end."""

from __future__ import annotations

from typing import ClassVar

from savo_contracts.envelope import Event, Moment, Subject


class SubjectErased(Event):
    """Everything of one subject is to be forgotten; every service keeps this in its ledger."""

    type: ClassVar[str] = "savo.subject.erased.v1"

    subject: Subject
    erased_at: Moment
