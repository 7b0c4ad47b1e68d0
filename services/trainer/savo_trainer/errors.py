"""What can go wrong with a run, by what the worker does about it.

SavoError
├── RetryableError
│   ├── TrainingCrashedError    the subprocess ended without a model: tried again, a bounded number of times
│   └── LeaseLostError          another replica carries the runs now: stop at once, write nothing
├── RunImpossibleError          this run can come to nothing, however often it is tried: failed, with next steps
├── RunCancelledError           somebody asked for this run's end: its work stops, and what it began is cleared away
├── RunEndedError               somebody asked for the end of a run that has ended
├── ClassesUnknownError         a model brought from elsewhere names classes that the product has not
├── ChampionMovedError          a model brought from elsewhere was measured against another than the present champion
├── TrainerUnreachableError            asked from outside: no trainer answers
└── TrainerRefusedError         asked from outside: it answers with a problem
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
]


class TrainingCrashedError(RetryableError):
    """The subprocess ended without what it was asked for. `detail` holds its last words."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"training ended early: {detail}", reason="training-crashed")
        self.detail = detail


class LeaseLostError(RetryableError):
    """Another replica took over while this one was busy."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"{owner} no longer holds the lease on training runs", reason="lease-lost")


class RunImpossibleError(SavoError):
    """No repeat can mend it: too little data, classes that cannot be read, a model name that does not exist."""

    def __init__(self, message: str, next_steps: Sequence[str] = ()) -> None:
        super().__init__(message, reason="run-impossible")
        self.next_steps = tuple(next_steps)


class RunCancelledError(SavoError):
    """The run is being cancelled: whoever works on it stops and writes nothing of that work."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"{run_id} is being cancelled", reason="run-cancelled")


class RunEndedError(SavoError):
    """There is nothing left to cancel."""

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"{run_id} has ended: it is {state}, and its verdict stands", reason="run-ended")
        self.state = state


class ClassesUnknownError(SavoError):
    """Its answers would mean nothing to the rest of the product."""

    next_steps = (
        "Train it with the catalogue's labels (libs/contracts/savo_contracts/ingredients.csv); another word becomes a class by its samples first.",
    )


class ChampionMovedError(SavoError):
    """Measure it again, against the present one."""

    def __init__(self, champion: str | None, compared: str | None) -> None:
        super().__init__(
            f"the champion is {champion or 'no model'} now, and the figures are against {compared or 'none'}: repeat the command"
        )


class TrainerUnreachableError(SavoError):
    """Nobody answers, or something that is no trainer."""


class TrainerRefusedError(SavoError):
    """The trainer's problem+json: its code and its sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, reason=code)
        self.code = code


class ForbiddenTransitionError(SavoError):
    """A run cannot go from the one state to the other: a bug of ours."""
