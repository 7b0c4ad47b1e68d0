"""Model events: a model passed the gate, or a vision replica refused to serve a model."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Message, Moment, Sha256
from savo_contracts.training import Comparison, Evaluation, ModelVersion, RunId


class ModelRef(Message):
    """Reference to a model's ONNX file in the object store, with its hash and classes."""

    version: ModelVersion
    key: str = Field(description="Key of model.onnx in the object store.")
    sha256: Sha256
    classes: tuple[str, ...] = Field(min_length=1, description="Labels in the order of the class ids.")


class ModelRegistered(Event, ModelRef):
    """A model passed the gate and can be tried on traffic."""

    type: ClassVar[str] = "savo.model.registered.v1"

    run_id: RunId
    dataset_version: str
    bytes: int = Field(gt=0, description="Size of model.onnx.")
    image_size: int = Field(gt=0, description="Side of the network's square input, pixels.")
    evaluation: Evaluation
    comparison: Comparison | None = None
    registered_at: Moment


class ModelRefused(Event):
    """A vision replica refused to serve a model and continues with the previous one."""

    type: ClassVar[str] = "savo.model.refused.v1"

    version: str
    replica: str
    reason: str = Field(max_length=1000)
    refused_at: Moment
