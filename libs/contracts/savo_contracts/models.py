"""Models that passed their gate, and models that a server would not load."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Message, Moment, Sha256
from savo_contracts.training import Comparison, Evaluation, ModelVersion, RunId


class ModelRef(Message):
    """Where a model's ONNX file is, and what it must hash to."""

    version: ModelVersion
    key: str = Field(description="Key of model.onnx in the object store.")
    sha256: Sha256
    classes: tuple[str, ...] = Field(min_length=1, description="Labels in the order of the class ids.")


class ModelRegistered(Event, ModelRef):
    """A model passed the gate and may be tried on traffic."""

    type: ClassVar[str] = "savo.model.registered.v1"

    run_id: RunId
    dataset_version: str
    bytes: int = Field(gt=0, description="Size of model.onnx.")
    image_size: int = Field(gt=0, description="Side of the network's square input, pixels.")
    evaluation: Evaluation
    comparison: Comparison | None = None
    registered_at: Moment


class ModelRefused(Event):
    """A vision replica would not serve a model; the one before it serves on."""

    type: ClassVar[str] = "savo.model.refused.v1"

    version: str
    replica: str
    reason: str = Field(max_length=1000)
    refused_at: Moment
