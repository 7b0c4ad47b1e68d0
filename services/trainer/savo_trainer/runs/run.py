"""Training run: a state machine from the threshold event to the verdict, safe against a crash at any point.

    queued ──► preparing ──► training ──► evaluating ──► registered
                   │             │            ├────────► rejected
                   └─────────────┴────────────┴────────► failed
       │           └─────────────┴────────────┴────────► cancelling ──► cancelled
       └───────────────────────────────────────────────────────────────────┘

A state names the work in progress. Its results are in `facts` once the next state is reached, so after a crash at most
one state's work is repeated. Every state's work is safe to repeat.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from savo_contracts.documents import GoldenPicture
from savo_contracts.envelope import Message
from savo_contracts.training import Comparison, Evaluation, TrainingThresholdReached
from savo_trainer.errors import ForbiddenTransitionError, RunEndedError

__all__ = [
    "OPEN",
    "Progress",
    "Run",
    "RunResults",
    "State",
    "Transition",
    "check_transition",
    "request_cancellation",
    "run_for_event",
]


class State(StrEnum):
    QUEUED = "queued"
    PREPARING = "preparing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    CANCELLING = "cancelling"
    """Cancellation was requested: its processes are being ended and its files removed."""
    REGISTERED = "registered"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


_TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.PREPARING, State.FAILED, State.CANCELLED}),
    State.PREPARING: frozenset({State.TRAINING, State.FAILED, State.CANCELLING}),
    State.TRAINING: frozenset({State.EVALUATING, State.FAILED, State.CANCELLING}),
    State.EVALUATING: frozenset({State.REGISTERED, State.REJECTED, State.FAILED, State.CANCELLING}),
    State.CANCELLING: frozenset({State.CANCELLED}),
}

OPEN = tuple(_TRANSITIONS)
"""States of a run that has not ended."""


class RunResults(Message):
    """Results of a run so far. Each stage adds its own."""

    dataset_version: str | None = None
    train_samples: int = 0
    val_samples: int = 0
    test_samples: int = 0
    left_out: int = 0
    """Samples that were erased or relabelled between the freeze and the download."""
    classes: tuple[str, ...] = ()
    """Labels in the order of the network's outputs."""
    class_ids: tuple[int, ...] = ()
    """Id in samples/classes.json of each network output."""
    started_from: str | None = None
    """Version whose weights the training started from; None: from scratch."""
    version: str | None = None
    onnx_sha256: str | None = None
    onnx_bytes: int = 0
    plain_onnx_sha256: str | None = None
    """Of the export before its graph was optimised; None: there is no such file."""
    optimization: str = ""
    """Sentence for the card: whether the export's graph is optimised, and if not, why."""
    weights_sha256: str | None = None
    image_size: int = 0
    weights_map50: float | None = None
    """mAP@0.5 of the .pt on the holdout, by ultralytics' validator."""
    export_map50: float | None = None
    """The same for the exported ONNX file."""
    training_seconds: float = 0.0
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    golden: tuple[GoldenPicture, ...] = ()
    brought: str | None = None
    """Who registered a model that was trained elsewhere, and why; None: the trainer trained it."""
    cancelled_by: str | None = None
    """Who requested the cancellation, as in the audit log."""


class Progress(Message):
    """The latest epoch that the training process reported."""

    epoch: int = Field(ge=0)
    epochs: int = Field(ge=1)
    losses: dict[str, float] = Field(default_factory=dict)
    map50: float | None = None
    seconds: float = 0.0


class Run(Message):
    """One training run."""

    id: str
    event_id: UUID
    """Id of the threshold event that requested it. One event requests one run."""
    dataset: str
    state: State
    trigger: dict[str, Any]
    attempts: int = 0
    """Attempts at the current state's work."""
    facts: RunResults = RunResults()
    progress: Progress | None = None
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    requested_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_cancelled(self) -> bool:
        """Cancellation was requested, whether or not it is finished."""
        return self.state in (State.CANCELLING, State.CANCELLED)


class Transition(Message):
    """One row of a run's history."""

    before: State | None
    after: State
    at: datetime
    detail: str = ""


def run_for_event(event_id: UUID, reached: TrainingThresholdReached) -> Run:
    """The run that a threshold event requests. The same event gives the same run id."""
    trigger = reached.model_dump(mode="json", include={"reason", "new_samples", "total_samples", "threshold"})
    return Run(
        id=f"run-{event_id.hex[:12]}",
        event_id=event_id,
        dataset=reached.dataset,
        state=State.QUEUED,
        trigger=trigger,
        requested_at=reached.reached_at,
    )


def request_cancellation(run: Run, by: str, reason: str, at: datetime) -> Run:
    """The run after a cancellation request: a queued run has ended, any other is `cancelling`.

    A second request changes nothing. Raises `RunEndedError`.
    """
    if run.is_cancelled:
        return run
    if not run.is_open:
        raise RunEndedError(run.id, run.state)
    changes = {
        "facts": run.facts.model_copy(update={"cancelled_by": by}),
        "reasons": (f"cancelled by {by}: {reason}",),
        "attempts": 0,
    }
    state = {"state": State.CANCELLED, "finished_at": at} if run.state is State.QUEUED else {"state": State.CANCELLING}
    return run.model_copy(update=changes | state)


def check_transition(before: State, after: State) -> None:
    """Raises `ForbiddenTransitionError` for a transition that is not in the diagram above."""
    if after not in _TRANSITIONS.get(before, frozenset()):
        raise ForbiddenTransitionError(f"a run cannot go from {before} to {after}")
