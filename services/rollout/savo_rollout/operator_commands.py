"""Operators' commands and start-up settings: pure functions from one state of the rollout to the next.

The rollout history has each command with its author and reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from savo_contracts.models import ModelRef
from savo_contracts.rollout import STEPS, RolloutState
from savo_rollout.champion_changes import promote, revert
from savo_rollout.errors import IncompleteError, NotPossibleError
from savo_rollout.state import SETTINGS, PathPin, Trial

__all__ = ["Command", "StartSettings", "apply_command", "apply_start_settings"]


class Command(BaseModel):
    """Body of PUT /rollout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["set", "pause", "resume", "rollback", "promote", "revert"]
    share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="With set: the candidate's share of traffic, pinned.",
    )
    version: str | None = Field(
        default=None,
        pattern=r"^v[1-9][0-9]*$",
        description="With promote: the new champion. With revert: a former champion; the last one if omitted.",
    )
    force: bool = Field(
        default=False,
        description="With promote: accept a version that the gate refused or that its trial rolled back.",
    )
    reason: str = Field(min_length=1, max_length=500, description="Reason, for the audit log.")
    by: str = Field(min_length=1, max_length=120, description="Author, for the audit log.")

    @property
    def wanted_share(self) -> float:
        """The share of `set`. Raises `IncompleteError` when it is missing."""
        if self.share is None:
            raise IncompleteError("share: set needs a share from 0 to 1")
        return self.share

    @property
    def wanted_version(self) -> str:
        """The version of `promote`. Raises `IncompleteError` when it is missing."""
        if self.version is None:
            raise IncompleteError("version: promote needs a version, such as v3")
        return self.version


@dataclass(frozen=True)
class StartSettings:
    """The operator's settings, applied at start."""

    use_custom_vision: bool = False
    pinned_share: float | None = None
    model_path: str | None = None
    """Path of the operator's model. With a pinned share it is the candidate."""

    @property
    def by_path(self) -> bool:
        """Whether the operator's model is the candidate, instead of one that the rollout chooses."""
        return self.use_custom_vision and self.pinned_share is not None and self.model_path is not None


def apply_command(trial: Trial, command: Command, now: datetime, model: ModelRef | None = None) -> Trial:
    """The state after a command. `promote` needs `model`, the model to promote.

    Raises `NotPossibleError` when the command does not apply to the present state, and `IncompleteError` for a missing
    field.
    """
    if command.action == "promote":
        assert model is not None, "the caller reads it from the registry"
        return promote(trial, model, command.reason, command.by, now)
    if command.action == "revert":
        return revert(trial, command.version, command.reason, command.by, now)
    if trial.pin:
        raise NotPossibleError(
            f"{command.action} is not possible while SAVO_CUSTOM_VISION_MODEL_PATH and SAVO_CUSTOM_VISION_ROLLOUT pin "
            "a model by its path: change or unset them"
        )
    if not trial.is_live:
        raise NotPossibleError(
            f"{command.action} needs a trial in progress, but the rollout is {trial.state}: {trial.reason}"
        )
    match command.action:
        case "set":
            return _pin(trial, command, now)
        case "pause":
            return _pause(trial, command, now)
        case "resume":
            return _resume(trial, command, now)
        case "rollback":
            return replace(
                trial.next(RolloutState.ROLLED_BACK, command.reason, now, by=command.by),
                share=0.0,
                step_started_at=None,
            )


def apply_start_settings(trial: Trial, start_settings: StartSettings, now: datetime) -> Trial | None:
    """The state that the settings require at the start, or None when the present state meets them."""
    if start_settings.by_path:
        return _pin_path(trial, start_settings, now)
    unpinned = _unpin_path(trial, now) if trial.pin else None
    return _switched_by_setting(unpinned or trial, start_settings, now) or unpinned


def _pin_path(trial: Trial, start_settings: StartSettings, now: datetime) -> Trial | None:
    """The state with the pin that the settings require. The same path keeps its experiment with its evidence."""
    assert start_settings.model_path is not None
    assert start_settings.pinned_share is not None
    if trial.pin is None or trial.pin.path != start_settings.model_path:
        return trial.with_pin(PathPin(start_settings.model_path, start_settings.pinned_share, now, now))
    if trial.pin.share != start_settings.pinned_share:
        return trial.with_pin(replace(trial.pin, earlier_experiments=()).at_share(start_settings.pinned_share, now))
    return replace(trial, pin=replace(trial.pin, earlier_experiments=())) if trial.pin.earlier_experiments else None


def _unpin_path(trial: Trial, now: datetime) -> Trial:
    """The rollout's own state. A trial that rested begins its step again."""
    reason = "no model is pinned by its path any more"
    by = trial.changed_by if trial.state is RolloutState.PINNED else SETTINGS
    unpinned = replace(trial, pin=None).next(trial.state, f"{reason}. Before: {trial.reason}", now, by=by)
    return unpinned.at_share(unpinned.share, now) if unpinned.is_live else unpinned


def _switched_by_setting(trial: Trial, start_settings: StartSettings, now: datetime) -> Trial | None:
    if not start_settings.use_custom_vision:
        return _idle_by_setting(trial, now) if trial.is_live else None
    if trial.candidate and trial.state is RolloutState.IDLE:
        again = trial.next(
            RolloutState.RUNNING,
            f"SAVO_USE_CUSTOM_VISION is true again: {trial.experiment} restarts at {STEPS[0]:.0%}",
            now,
            by=SETTINGS,
        )
        trial = again.at_share(STEPS[0], now)
        return _pin_by_setting(trial, start_settings.pinned_share, now) or trial
    if not trial.is_live:
        return None
    return _pin_by_setting(trial, start_settings.pinned_share, now)


def _pin(trial: Trial, command: Command, now: datetime) -> Trial:
    pinned = trial.next(RolloutState.PINNED, command.reason, now, by=command.by)
    return pinned if command.wanted_share == trial.share else pinned.at_share(command.wanted_share, now)


def _pause(trial: Trial, command: Command, now: datetime) -> Trial:
    if trial.state is RolloutState.PAUSED:
        raise NotPossibleError(f"the trial is already paused: {trial.reason}")
    return trial.next(RolloutState.PAUSED, command.reason, now, by=command.by)


def _resume(trial: Trial, command: Command, now: datetime) -> Trial:
    """Continue on the ladder. A pinned share between two steps falls to the lower step, 0 rises to the first step."""
    if trial.state is RolloutState.RUNNING:
        raise NotPossibleError("the trial is already running")
    return _on_the_ladder(trial.next(RolloutState.RUNNING, command.reason, now, by=command.by), now)


def _on_the_ladder(trial: Trial, now: datetime) -> Trial:
    share = max((step for step in STEPS if step <= trial.share), default=STEPS[0])
    return trial if share == trial.share else trial.at_share(share, now)


def _idle_by_setting(trial: Trial, now: datetime) -> Trial:
    reason = f"SAVO_USE_CUSTOM_VISION is false: {trial.experiment} has no traffic"
    parked = trial.next(RolloutState.IDLE, reason, now, by=SETTINGS)
    return replace(parked, share=0.0, step_started_at=None)


def _pin_by_setting(trial: Trial, share: float | None, now: datetime) -> Trial | None:
    pinned_by_setting = trial.state is RolloutState.PINNED and trial.changed_by == SETTINGS
    if share is None:
        reason = "SAVO_CUSTOM_VISION_ROLLOUT is unset: automation resumes"
        lifted = trial.next(RolloutState.RUNNING, reason, now, by=SETTINGS)
        return _on_the_ladder(lifted, now) if pinned_by_setting else None
    if pinned_by_setting and trial.share == share:
        return None
    reason = f"SAVO_CUSTOM_VISION_ROLLOUT={share:g}: share pinned, automation paused"
    pinned = trial.next(RolloutState.PINNED, reason, now, by=SETTINGS)
    return pinned if share == trial.share else pinned.at_share(share, now)
