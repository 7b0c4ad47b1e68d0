"""The rollout's whole state as one record; every change makes the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState

__all__ = ["AUTOMATION", "LIVE", "Trial", "changed_event"]

AUTOMATION = "rollout"
"""`changed_by` of a change that no person made."""

LIVE = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.PINNED)
"""States in which the candidate may have traffic."""

_REASON_LIMIT = 1000

REMEMBERED = 20
"""Former champions that are kept as ways back."""


@dataclass(frozen=True)
class Trial:
    """The whole state of the rollout: who serves which share, since when and why, and which models come next.

    Immutable: `next`, `at_share` and `with_champion` return the following state, which the ledger stores by compare
    and swap. A candidate is there from the start of its trial until it becomes champion; after a rollback it stays
    named, with a share of 0.
    """

    sequence: int
    """Counts changes; the same as in `rollout.changed` and the audit log."""
    state: RolloutState
    share: float
    """The candidate's share of the traffic, 0…1."""
    reason: str
    changed_by: str
    changed_at: datetime
    step: int = 0
    """Steps of the present experiment; 1 is the first, 0 is none. The alarm's evidence begins anew with each."""
    step_started_at: datetime | None = None
    candidate: ModelRef | None = None
    champion: ModelRef | None = None
    """None: the vision provider (Google) is the baseline."""
    queued: ModelRef | None = None
    """The newest model that was registered during this trial; its own begins afterwards."""
    former: tuple[ModelRef, ...] = ()
    """Champions before the present one, the last of them last; before the first there was the vision provider."""

    @classmethod
    def blank(cls, now: datetime) -> Trial:
        """Before the first model."""
        return cls(0, RolloutState.IDLE, 0.0, "no model is registered yet", AUTOMATION, now)

    @property
    def experiment(self) -> str | None:
        """The experiment's name: the candidate's version."""
        return self.candidate.version if self.candidate else None

    @property
    def is_live(self) -> bool:
        """Whether the candidate may have traffic."""
        return self.state in LIVE and self.candidate is not None

    def next(self, state: RolloutState, reason: str, now: datetime, *, by: str = AUTOMATION) -> Trial:
        """The same trial in another state."""
        return replace(
            self,
            sequence=self.sequence + 1,
            state=state,
            reason=reason[:_REASON_LIMIT],
            changed_by=by,
            changed_at=now,
        )

    def with_champion(self, model: ModelRef) -> Trial:
        """With another champion; the one before is kept in `former`. Used with `next`."""
        former = (*self.former, self.champion) if self.champion else self.former
        return replace(self, champion=model, former=former[-REMEMBERED:])

    def at_share(self, share: float, now: datetime) -> Trial:
        """At another share: a new step, whose alarm begins without evidence. Used on the outcome of `next`."""
        return replace(self, share=share, step=self.step + 1, step_started_at=now)


def changed_event(trial: Trial) -> RolloutChanged:
    """The event that vision and gateway follow."""
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
