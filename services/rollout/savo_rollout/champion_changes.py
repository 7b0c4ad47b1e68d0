"""Champion changes by an operator: promote a version of the registry, or revert to a former champion.

A running trial then has another baseline, so it starts a new step at the same share. A candidate or a queued model
that is older than the promoted version is dropped, because it would later replace the operator's choice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutState
from savo_rollout.errors import NotPossibleError
from savo_rollout.state import Trial

__all__ = ["promote", "revert"]


def promote(trial: Trial, model: ModelRef, reason: str, by: str, now: datetime) -> Trial:
    """Make a version champion regardless of the evidence. Returns `trial` itself if the version is champion already."""
    if trial.champion and trial.champion.version == model.version:
        return trial
    promoted = replace(trial, queued=trial.queued if _is_newer(trial.queued, model) else None).with_champion(model)
    return _applied(promoted if _is_newer(trial.candidate, model) else _without_candidate(promoted), reason, by, now)


def revert(trial: Trial, version: str | None, reason: str, by: str, now: datetime) -> Trial:
    """Make the previous champion, or the former champion `version`, champion again.

    Without a former champion the vision provider becomes the baseline. Raises `NotPossibleError` when there is no
    champion, and when `version` was never champion before the present one.
    """
    if trial.champion is None:
        raise NotPossibleError("there is no champion to revert: the vision provider is the baseline")
    if version is None:
        before = trial.former[-1] if trial.former else None
        return _applied(replace(trial, champion=before, former=trial.former[:-1]), reason, by, now)
    index = max((index for index, entry in enumerate(trial.former) if entry.version == version), default=None)
    if index is None:
        former = ", ".join(dict.fromkeys(entry.version for entry in reversed(trial.former))) or "none"
        problem = f"{version} was not champion before {trial.champion.version}; former champions: {former}"
        raise NotPossibleError(f"{problem}. `savo models promote` accepts every version")
    return _applied(replace(trial, champion=trial.former[index], former=trial.former[:index]), reason, by, now)


def _applied(trial: Trial, reason: str, by: str, now: datetime) -> Trial:
    if trial.is_live:
        return trial.next(trial.state, reason, now, by=by).at_share(trial.share, now)
    if trial.candidate:
        return trial.next(trial.state, reason, now, by=by)
    return trial.next(RolloutState.COMPLETED if trial.champion else RolloutState.IDLE, reason, now, by=by)


def _without_candidate(trial: Trial) -> Trial:
    return replace(trial, candidate=None, share=0.0, step=0, step_started_at=None)


def _is_newer(model: ModelRef | None, than: ModelRef) -> bool:
    return model is not None and int(model.version[1:]) > int(than.version[1:])
