"""Audit events: changes that operators and the automation make to shares, aliases, dead letters, erasures and keys."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Moment

AuditValue = str | int | float | bool | None
"""A value before or after a change. Never a secret, never a user id."""


class AuditRecorded(Event):
    """An entry of the audit log. The topic is append-only and never expires; tables that show it are projections."""

    type: ClassVar[str] = "savo.audit.recorded.v1"

    action: str = Field(
        pattern=r"^[a-z-]+\.[a-z-]+$",
        description="The action, such as `share.changed`, `alias.moved`, `dead-letters.redriven`.",
    )
    by: str = Field(
        min_length=1,
        max_length=120,
        description="The automation, an operator's name, `key:ID` or `subject:RANDOM`; never a user id.",
    )
    about: str = Field(min_length=1, max_length=200, description="The object of the action; the record's key.")
    before: dict[str, AuditValue] = Field(default_factory=dict, description="The changed values before the action.")
    after: dict[str, AuditValue] = Field(
        default_factory=dict, description="The same values after it, or the action's result."
    )
    reason: str = Field(default="", max_length=1000, description="The reason that `by` gave.")
    trace_id: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{32}$", description="W3C trace id of the request or record that led to it."
    )
    recorded_at: Moment
