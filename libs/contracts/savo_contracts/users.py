"""User events: consent to training, and the erasure of a subject, the pseudonym of a person or device."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field

from savo_contracts.envelope import Event, Moment, Subject


class SubjectErased(Event):
    """A subject is erased: every service deletes the subject's data and records the erasure."""

    type: ClassVar[str] = "savo.subject.erased.v1"

    subject: Subject
    erased_at: Moment


class ConsentChanged(Event):
    """A person gave or withdrew the consent to train with their photos.

    A withdrawal ends the collection of samples. Samples that exist are removed by an erasure.
    """

    type: ClassVar[str] = "savo.consent.changed.v1"
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "subject": "5f0c7d1a9b3e4c6f8a2d",
                    "given": True,
                    "text_version": "2026-11",
                    "retention_days": 90,
                    "changed_at": "2026-11-23T12:00:00Z",
                }
            ]
        }
    )

    subject: Subject
    given: bool = Field(description="False: withdrawn.")
    text_version: str | None = Field(
        default=None, max_length=40, description="Version of the text that the person agreed to."
    )
    retention_days: int | None = Field(
        default=None, ge=1, le=3650, description="Days that the person allows samples to be kept; null without a limit."
    )
    changed_at: Moment
