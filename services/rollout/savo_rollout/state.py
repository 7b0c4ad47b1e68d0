"""Rollout record (`Trial`): candidate, champion, queue, share and reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState

__all__ = ["AUTOMATION", "LIVE", "Trial", "changed_event"]

AUTOMATION = "rollout"
"""`changed_by` of an automatic change."""

LIVE = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.PINNED)
"""States in which the candidate may have traffic."""

_REASON_LIMIT = 1000

FORMER_LIMIT = 20
"""Number of former champions that are kept, so that an operator can revert to them."""


@dataclass(frozen=True)
class Trial:
    """The rollout's state: candidate, champion, share, and the reason for the last change.

    `next`, `at_share` and `with_champion` return the following state, which the ledger stores by compare and swap. The
    candidate is set from the start of its trial until it becomes champion. After a rollback it stays set, with a share
    of 0.
    """

    sequence: int
    """Number of the change, as in `rollout.changed` and the rollout history."""
    state: RolloutState
    share: float
    """The candidate's share of the traffic, 0…1."""
    reason: str
    changed_by: str
    changed_at: datetime
    step: int = 0
    """Step of the present experiment, from 1; 0 without one. The evidence of the alarm restarts with each step."""
    step_started_at: datetime | None = None
    candidate: ModelRef | None = None
    champion: ModelRef | None = None
    """None means that the vision provider is the baseline."""
    queued: ModelRef | None = None
    """The newest model registered during this trial. Its trial begins afterwards."""
    former: tuple[ModelRef, ...] = ()
    """Former champions, the latest last. Before the first of them the vision provider was the baseline."""

    @classmethod
    def blank(cls, now: datetime) -> Trial:
        """The state before the first model."""
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
        """The next change: another state and reason."""
        return replace(
            self,
            sequence=self.sequence + 1,
            state=state,
            reason=reason[:_REASON_LIMIT],
            changed_by=by,
            changed_at=now,
        )

    def with_champion(self, model: ModelRef) -> Trial:
        """With another champion; the present one is appended to `former`. Combine it with `next`."""
        former = (*self.former, self.champion) if self.champion else self.former
        return replace(self, champion=model, former=former[-FORMER_LIMIT:])

    def at_share(self, share: float, now: datetime) -> Trial:
        """At another share, which is a new step without evidence for its alarm. Apply it to the result of `next`."""
        return replace(self, share=share, step=self.step + 1, step_started_at=now)


def changed_event(trial: Trial) -> RolloutChanged:
    """The event that publishes a state to vision and gateway."""
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
