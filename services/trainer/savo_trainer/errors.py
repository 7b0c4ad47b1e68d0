"""Errors of the trainer, grouped by what the caller does about them.

SavoError
├── RetryableError
│   ├── TrainingCrashedError      the training process ended without a model: retry, a limited number of times
│   └── LeaseLostError            another replica holds the lease: stop at once, write nothing
├── RunImpossibleError            no retry can help: the run fails, with next steps
├── RunCancelledError             the run is being cancelled: stop its work and remove its files
├── RunEndedError                 a run that has ended cannot be cancelled
├── ForbiddenTransitionError      a bug: runs have no such transition
├── UnknownVersionError           there is no data set version with this name
├── VersionInUseError             a data set version that a model or a run refers to cannot be removed
├── ClassesUnknownError           a submitted model has classes that the product does not know
├── ChampionMovedError            a submitted model was not compared with the current champion
├── TrainerUnreachableError       for commands: no trainer answers
└── TrainerRefusedError           for commands: the trainer answers with a problem
"""

from __future__ import annotations

from collections.abc import Sequence

from savo_runtime.errors import RetryableError, SavoError

__all__ = [
    "ChampionMovedError",
    "ClassesUnknownError",
    "ForbiddenTransitionError",
    "LeaseLostError",
    "RunCancelledError",
    "RunEndedError",
    "RunImpossibleError",
    "TrainerRefusedError",
    "TrainerUnreachableError",
    "TrainingCrashedError",
    "UnknownVersionError",
    "VersionInUseError",
]


class TrainingCrashedError(RetryableError):
    """The training process ended without a result. `detail` holds its reason or its last output."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"training ended early: {detail}", reason="training-crashed")
        self.detail = detail


class LeaseLostError(RetryableError):
    """Another replica took the lease over."""

    def __init__(self, owner: str, lease: str = "runs") -> None:
        super().__init__(f"{owner} no longer holds the lease on {lease}", reason="lease-lost")


class RunImpossibleError(SavoError):
    """No retry can help: too few samples, a class list that cannot be read, libraries that are not installed."""

    def __init__(self, message: str, next_steps: Sequence[str] = ()) -> None:
        super().__init__(message, reason="run-impossible")
        self.next_steps = tuple(next_steps)


class RunCancelledError(SavoError):
    """The run is being cancelled: the worker stops and writes no result."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"{run_id} is being cancelled", reason="run-cancelled")


class RunEndedError(SavoError):
    """A run that has ended cannot be cancelled."""

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"{run_id} cannot be cancelled: it has ended as {state}", reason="run-ended")
        self.state = state


class UnknownVersionError(SavoError):
    """There is no data set version with this name, or its freeze is not complete."""

    def __init__(self, version: str) -> None:
        super().__init__(f"there is no data set version {version}: `savo dataset list` names them")


class VersionInUseError(SavoError):
    """A model or a run refers to the data set version."""

    def __init__(self, version: str, users: Sequence[str]) -> None:
        super().__init__(f"{version} cannot be removed: {', '.join(users)} refers to it")
        self.users = tuple(users)


class ClassesUnknownError(SavoError):
    """The model has classes that the product does not know."""

    next_steps = (
        "Train it with the catalogue's labels (libs/contracts/savo_contracts/ingredients.csv). "
        "Any other label becomes a class only through collected samples.",
    )


class ChampionMovedError(SavoError):
    """The model was compared with another model than the current champion: measure it again."""

    def __init__(self, champion: str | None, compared: str | None) -> None:
        super().__init__(
            f"the model was compared with {compared or 'no champion'}, "
            f"but the champion is {champion or 'no model'} now: repeat the command"
        )


class TrainerUnreachableError(SavoError):
    """No trainer answers at the address."""


class TrainerRefusedError(SavoError):
    """The trainer answered with a problem+json document: its code and its detail."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, reason=code)
        self.code = code


class ForbiddenTransitionError(SavoError):
    """A run has no transition between the two states: a bug."""
