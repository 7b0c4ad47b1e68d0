"""What people and the automation did to the product itself: shares, aliases, dead letters, erasures, keys."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Moment

AuditValue = str | int | float | bool | None
"""One value before or after. Never a secret, never a user id."""


class AuditRecorded(Event):
    """One line of the audit log. The topic is kept for ever and only ever added to; whatever shows it is a projection."""

    type: ClassVar[str] = "savo.audit.recorded.v1"

    action: str = Field(
        pattern=r"^[a-z-]+\.[a-z-]+$",
        description="What was done, such as `share.changed`, `alias.moved`, `dead-letters.redriven`.",
    )
    by: str = Field(
        min_length=1,
        max_length=120,
        description="The automation, an operator's name, `key:ID` or `subject:RANDOM`; never a user id.",
    )
    about: str = Field(min_length=1, max_length=200, description="What it was done to; the record's key.")
    before: dict[str, AuditValue] = Field(default_factory=dict, description="The values that changed, as they were.")
    after: dict[str, AuditValue] = Field(default_factory=dict, description="The same values, or what came of it.")
    reason: str = Field(default="", max_length=1000, description="Why, in the words of whoever did it.")
    trace_id: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="W3C trace id of the request or record that led to it."
    )
    recorded_at: Moment
