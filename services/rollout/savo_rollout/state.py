"""Rollout record (`Trial`): candidate, champion, queue, share and reason. `PathPin`: a model by its path over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState

__all__ = ["AUTOMATION", "LIVE", "MAX_EXPERIMENT", "SETTINGS", "PathPin", "Trial", "changed_event"]

AUTOMATION = "rollout"
"""`changed_by` of an automatic change."""

SETTINGS = "settings"
"""`changed_by` of a change that a setting caused at the start."""

LIVE = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.PINNED)
"""States in which the candidate may have traffic."""

_REASON_LIMIT = 1000

FORMER_LIMIT = 20
"""Number of former champions that are kept, so that an operator can revert to them."""


MAX_EXPERIMENT = 60
"""Characters of an experiment's name."""


@dataclass(frozen=True)
class PathPin:
    """Pinned experiment: the operator's model by its path, SAVO_CUSTOM_VISION_MODEL_PATH, at a pinned share.

    Vision alone reads the model's file, so its version is known from the events of scans: the first scan after the
    setting took effect names the experiment. The pin lies over the rollout's own state, which rests until the pin is
    removed: candidate, champion, queue and aliases stay as they are.
    """

    path: str
    share: float
    changed_at: datetime
    """When the pin was set, its share changed, or its experiment opened."""
    since: datetime
    """Scans that ended earlier open no experiment: they belong to the time before the pin."""
    step: int = 1
    """Step of the experiment, from 1. Each share is a step."""
    experiment: str | None = None
    """None before the first scan."""
    earlier_experiments: tuple[str, ...] = ()
    """Experiments before this one since the last start. Replicas that are replaced late do not open them again."""

    @property
    def reason(self) -> str:
        model = self.experiment or f"the model at {self.path}, not seen in a scan yet,"
        return f"by path: {model} has {self.share:.0%} of the traffic by SAVO_CUSTOM_VISION_ROLLOUT={self.share:g}"

    def opens(self, experiment: str, ended_at: datetime) -> bool:
        """Whether a scan that ended then opens its experiment. While vision loads the model, scans name its path."""
        known = (self.experiment, self.path, *self.earlier_experiments)
        return experiment not in known and len(experiment) <= MAX_EXPERIMENT and ended_at >= self.since

    def opened(self, experiment: str, ended_at: datetime) -> Self:
        earlier = (*self.earlier_experiments, self.experiment) if self.experiment else self.earlier_experiments
        return replace(self, experiment=experiment, changed_at=ended_at, since=ended_at, earlier_experiments=earlier)

    def at_share(self, share: float, now: datetime) -> Self:
        return replace(self, share=share, changed_at=now, step=self.step + 1)

    def to_json(self) -> dict[str, Any]:
        times = {"changed_at": self.changed_at.isoformat(), "since": self.since.isoformat()}
        names = {"path": self.path, "experiment": self.experiment, "left": list(self.earlier_experiments)}
        return names | times | {"share": self.share, "step": self.step}

    @classmethod
    def of_json(cls, stored: dict[str, Any]) -> Self:
        times = {name: datetime.fromisoformat(stored[name]) for name in ("changed_at", "since")}
        fields = {name: value for name, value in stored.items() if name != "left"} | times
        return cls(**fields, earlier_experiments=tuple(stored["left"]))


@dataclass(frozen=True)
class Trial:
    """The rollout's state: candidate, champion, share, and the reason for the last change.

    `next`, `at_share` and `with_champion` return the following state, which the repository stores by compare and swap.
    The candidate is set from the start of its trial until it becomes champion. After a rollback it stays set, with a
    share of 0.
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
    pin: PathPin | None = None
    """The operator's model by path. While it is set, the other fields but `sequence` and `champion` have no effect."""

    @classmethod
    def initial(cls, now: datetime) -> Trial:
        """The state before the first model."""
        return cls(0, RolloutState.IDLE, 0.0, "no model is registered yet", AUTOMATION, now)

    @property
    def experiment(self) -> str | None:
        """The experiment's name: the candidate's version, or that of the operator's model by path."""
        if self.pin:
            return self.pin.experiment
        return self.candidate.version if self.candidate else None

    @property
    def in_effect(self) -> Trial:
        """The state that vision routes by and that people see: that of the pin, where there is one."""
        if self.pin is None:
            return self
        return replace(
            self,
            state=RolloutState.PINNED,
            share=self.pin.share,
            reason=self.pin.reason[:_REASON_LIMIT],
            changed_by=SETTINGS,
            changed_at=self.pin.changed_at,
            step=self.pin.step,
            step_started_at=self.pin.since,
            candidate=None,
        )

    @property
    def collects_evidence(self) -> bool:
        """Whether scans of the experiment are evidence."""
        return self.experiment is not None and (self.pin is not None or self.is_live)

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

    def with_pin(self, pin: PathPin) -> Trial:
        """The next change: another pin."""
        return replace(self, sequence=self.sequence + 1, pin=pin)

    def with_champion(self, model: ModelRef) -> Trial:
        """With another champion; the present one is appended to `former`. Combine it with `next`."""
        former = (*self.former, self.champion) if self.champion else self.former
        return replace(self, champion=model, former=former[-FORMER_LIMIT:])

    def at_share(self, share: float, now: datetime) -> Trial:
        """At another share, which is a new step without evidence for its alarm. Apply it to the result of `next`."""
        return replace(self, share=share, step=self.step + 1, step_started_at=now)


def changed_event(trial: Trial) -> RolloutChanged:
    """The event that publishes a state to vision and gateway."""
    trial = trial.in_effect
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
