"""The rollout's whole state as one record; every change makes the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState

__all__ = ["AUTOMATION", "LIVE", "Trial", "changed_event"]

AUTOMATION = "rollout"
"""Who changed it, when nobody did."""

LIVE = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.PINNED)
"""States in which the candidate may have traffic."""

_REASON_LIMIT = 1000

REMEMBERED = 20
"""Former champions that are kept as ways back."""


@dataclass(frozen=True)
class Trial:
    """What is in force. `sequence` counts changes, `step` the steps of the present experiment (1 is the first)."""

    sequence: int
    state: RolloutState
    share: float
    reason: str
    changed_by: str
    changed_at: datetime
    step: int = 0
    step_started_at: datetime | None = None
    candidate: ModelRef | None = None
    champion: ModelRef | None = None
    """None: the vision provider (Google) is the baseline."""
    queued: ModelRef | None = None
    """The newest model that waits for this trial's end."""
    former: tuple[ModelRef, ...] = ()
    """Champions before the present one, the last of them last; before the first there was the vision provider."""

    @classmethod
    def blank(cls, now: datetime) -> Trial:
        return cls(0, RolloutState.IDLE, 0.0, "no model is registered yet", AUTOMATION, now)

    @property
    def experiment(self) -> str | None:
        return self.candidate.version if self.candidate else None

    @property
    def is_live(self) -> bool:
        return self.state in LIVE and self.candidate is not None

    def next(self, state: RolloutState, reason: str, now: datetime, *, by: str = AUTOMATION) -> Trial:
        """The same trial in another state."""
        return replace(self, sequence=self.sequence + 1, state=state, reason=reason[:_REASON_LIMIT], changed_by=by, changed_at=now)

    def with_champion(self, model: ModelRef) -> Trial:
        """With another champion; the one before is remembered. Used with `next`."""
        former = (*self.former, self.champion) if self.champion else self.former
        return replace(self, champion=model, former=former[-REMEMBERED:])

    def at_share(self, share: float, now: datetime) -> Trial:
        """A step of its own, with evidence of its own for the alarm. Used on the outcome of `next`."""
        return replace(self, share=share, step=self.step + 1, step_started_at=now)


def changed_event(trial: Trial) -> RolloutChanged:
    return RolloutChanged(
        sequence=trial.sequence,
        state=trial.state,
        experiment=trial.experiment,
        candidate=trial.candidate,
        champion=trial.champion,
        share=trial.share,
        reason=trial.reason,
        changed_by=trial.changed_by,
        changed_at=trial.changed_at,
    )
