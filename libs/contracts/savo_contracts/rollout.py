"""Rollout events: the models on trial and their shares of traffic."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from savo_contracts.envelope import Event, Moment
from savo_contracts.geometry import Fraction
from savo_contracts.models import ModelRef
from savo_contracts.open_values import OpenValue

STEPS = (0.05, 0.25, 0.5, 1.0)
"""The product owner's ladder of traffic shares."""


class RolloutState(StrEnum):
    """State of the rollout. Open value set: readers decide by candidate, champion and share."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    PINNED = "pinned"
    ROLLED_BACK = "rolled-back"
    COMPLETED = "completed"


class RolloutChanged(Event):
    """The complete routing decision. The newest record of its key is in force."""

    type: ClassVar[str] = "savo.rollout.changed.v1"

    target: Literal["vision"] = Field(default="vision", description="The compacted topic's key.")
    sequence: int = Field(ge=0, description="Number of the change; an event with a lower number is stale.")
    state: OpenValue = Field(description="State of the rollout: a value of `RolloutState`, or of a later release.")
    experiment: str | None = Field(default=None, description="The candidate's version; None without a candidate.")
    candidate: ModelRef | None = Field(default=None, description="The challenger on trial.")
    champion: ModelRef | None = Field(
        default=None, description="The baseline's model; None means the vision provider (Google)."
    )
    share: Fraction = Field(description="Candidate's share of traffic.")
    reason: str = Field(max_length=1000, description="Reason for the change, with figures.")
    changed_by: str = Field(description="`rollout`, or the operator's name.")
    changed_at: Moment
