"""A run's way from the threshold to its verdict, as a state machine that survives a crash at any line.

    queued ──► preparing ──► training ──► evaluating ──► registered
                   │             │            ├────────► rejected
                   └─────────────┴────────────┴────────► failed
       │           └─────────────┴────────────┴────────► cancelling ──► cancelled
       └───────────────────────────────────────────────────────────────────┘

A state names the work in progress; its results are in `facts` once the next state is reached. So whoever takes the run
over repeats the work of one state at most, and each state's work may be repeated safely.
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
    "Facts",
    "Progress",
    "Run",
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
    """Somebody asked for its end: what it began is being ended and cleared away."""
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
"""States with work left."""


class Facts(Message):
    """What is known about a run so far; each stage adds its own."""

    dataset_version: str | None = None
    train_samples: int = 0
    val_samples: int = 0
    test_samples: int = 0
    left_out: int = 0
    """Samples of the version that were erased or relabelled between the freeze and the download."""
    classes: tuple[str, ...] = ()
    """Labels in the order of the network's outputs."""
    class_ids: tuple[int, ...] = ()
    """Id in samples/classes.json of each output."""
    started_from: str | None = None
    """Version whose weights the training began with; None from scratch."""
    version: str | None = None
    onnx_sha256: str | None = None
    onnx_bytes: int = 0
    plain_onnx_sha256: str | None = None
    """Of the export that the ONNX file was made from by optimising its graph; None where there is none."""
    optimization: str = ""
    """What became of the export's graph, in a sentence for the card."""
    weights_sha256: str | None = None
    image_size: int = 0
    weights_map50: float | None = None
    """ultralytics' own figure for the .pt on the holdout."""
    export_map50: float | None = None
    """The same measure for the exported ONNX."""
    training_seconds: float = 0.0
    evaluation: Evaluation | None = None
    comparison: Comparison | None = None
    golden: tuple[GoldenPicture, ...] = ()
    brought: str | None = None
    """Who registered a model that was trained elsewhere, and why; None: this run trained it."""
    cancelled_by: str | None = None
    """Who asked for its end, as the audit log names them."""


class Progress(Message):
    """What the subprocess said last."""

    epoch: int = Field(ge=0)
    epochs: int = Field(ge=1)
    losses: dict[str, float] = Field(default_factory=dict)
    map50: float | None = None
    seconds: float = 0.0


class Run(Message):
    """One training run as it stands."""

    id: str
    event_id: UUID
    """Of the threshold event that called for it: one event, one run."""
    dataset: str
    state: State
    trigger: dict[str, Any]
    attempts: int = 0
    """Times that the present state's work was begun."""
    facts: Facts = Facts()
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
        """Its end was asked for, whether it has come or not."""
        return self.state in (State.CANCELLING, State.CANCELLED)


class Transition(Message):
    """One row of a run's history."""

    before: State | None
    after: State
    at: datetime
    detail: str = ""


def run_for_event(event_id: UUID, reached: TrainingThresholdReached) -> Run:
    """The run that an event calls for; the same event always gives the same run id."""
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
    """The run once its end was asked for: at its end when nothing was begun. Asked again it stays as it is. Raises `RunEndedError`."""
    if run.is_cancelled:
        return run
    if not run.is_open:
        raise RunEndedError(run.id, run.state)
    told = {
        "facts": run.facts.model_copy(update={"cancelled_by": by}),
        "reasons": (f"cancelled by {by}: {reason}",),
        "attempts": 0,
    }
    ended = {"state": State.CANCELLED, "finished_at": at} if run.state is State.QUEUED else {"state": State.CANCELLING}
    return run.model_copy(update=told | ended)


def check_transition(before: State, after: State) -> None:
    """Raises `ForbiddenTransitionError` for a move that is not in the picture above."""
    if after not in _TRANSITIONS.get(before, frozenset()):
        raise ForbiddenTransitionError(f"a run cannot go from {before} to {after}")
