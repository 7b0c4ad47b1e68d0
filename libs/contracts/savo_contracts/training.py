"""Training events: enough new samples for a run, and the result of a finished run."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Message, Moment
from savo_contracts.geometry import Fraction
from savo_contracts.open_values import OpenValue

RunId = Annotated[str, Field(min_length=1, max_length=64, description="Id of one training run.")]
ModelVersion = Annotated[str, Field(pattern=r"^v[1-9][0-9]*$", description="`v1`, `v2`, … in order of registration.")]


class RunOutcome(StrEnum):
    """How a training run ends. Open value set."""

    REGISTERED = "registered"
    REJECTED = "rejected"
    FAILED = "failed"


class TrainingTrigger(StrEnum):
    """Why a training run starts. Open value set."""

    SAMPLES = "samples"
    AGE = "age"
    OPERATOR = "operator"


class TrainingThresholdReached(Event):
    """A training run is due: there are enough new samples, or new samples are old enough."""

    type: ClassVar[str] = "savo.training.threshold-reached.v1"

    dataset: str = "ingredients"
    reason: OpenValue = Field(description="A value of `TrainingTrigger`, or of a later release.")
    new_samples: int = Field(ge=0, description="Samples since the last run.")
    total_samples: int = Field(ge=0, description="Samples in the whole data set.")
    threshold: int = Field(gt=0, description="Number of new samples that starts a run.")
    reached_at: Moment


class Evaluation(Message):
    """mAP@0.5 of an ONNX model on a data set version's holdout, measured with the code that serves it."""

    map50: Fraction = Field(description="Point estimate.")
    map50_lower: Fraction = Field(description="Lower end of the 95 % interval, bootstrap by subject.")
    map50_upper: Fraction = Field(description="Upper end of the same interval.")
    images: int = Field(ge=0)
    boxes: int = Field(ge=0)
    per_class: dict[str, float] = Field(default_factory=dict, description="AP@0.5 by label.")


class Comparison(Message):
    """Candidate minus champion on the same holdout, paired bootstrap by subject; fractions, so 0.02 is 2 points."""

    champion: str
    champion_map50: Fraction
    gain: float
    gain_lower: float
    gain_upper: float


class TrainingFinished(Event):
    """A training run ended: its model is registered or rejected, or the run failed."""

    type: ClassVar[str] = "savo.training.finished.v1"

    run_id: RunId
    dataset: str = "ingredients"
    dataset_version: str | None = None
    outcome: OpenValue = Field(description="How the run ended.")
    version: str | None = Field(
        default=None, description="The candidate's version; None when the run produced no model."
    )
    evaluation: Evaluation | None = None
    comparison: Comparison | None = Field(default=None, description="None for a first model.")
    trigger: OpenValue | None = Field(
        default=None, description="Why it started: a value of `TrainingTrigger`. None: an earlier release did not say."
    )
    cancelled_by: str | None = Field(
        default=None, description="Operator who cancelled the run, whose outcome is then `failed`; None otherwise."
    )
    reasons: tuple[str, ...] = Field(default=(), description="Reasons for the outcome, with figures.")
    next_steps: tuple[str, ...] = Field(default=(), description="What to do after a rejection or failure.")
    train_samples: int = Field(default=0, ge=0, description="Number of samples of the train split.")
    seconds: float = Field(ge=0, description="Seconds from queued to the end of the run.")
    finished_at: Moment
