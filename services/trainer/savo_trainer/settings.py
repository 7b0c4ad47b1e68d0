"""Settings of the trainer service. Only `app.py` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from savo_runtime.settings import RuntimeSettings

__all__ = ["TrainerSettings"]


class TrainerSettings(RuntimeSettings):
    train_model: str = Field(
        "yolov8n.yaml",
        validation_alias="SAVO_TRAIN_MODEL",
        description="Architecture to train from scratch (yolov8n.yaml), or local weights to start from (.pt).",
        pattern=r"^\S+\.(yaml|pt)$",
        json_schema_extra={"allowed": "a name or path that ends in .yaml or .pt"},
    )
    train_width: float | None = Field(
        None,
        gt=0,
        le=2,
        validation_alias="SAVO_TRAIN_WIDTH",
        description="Width multiple instead of the architecture's own; unset keeps it.",
    )
    train_epochs: int = Field(
        100, ge=1, le=10_000, validation_alias="SAVO_TRAIN_EPOCHS", description="Passes over the training photos."
    )
    train_batch: int = Field(16, ge=1, le=4096, validation_alias="SAVO_TRAIN_BATCH", description="Photos in one step.")
    train_imgsz: int = Field(
        640,
        ge=32,
        le=4096,
        multiple_of=32,
        validation_alias="SAVO_TRAIN_IMGSZ",
        description="Side of the network's square input, pixels.",
        json_schema_extra={"allowed": "a multiple of 32 from 32 to 4096"},
    )
    train_device: str = Field(
        "auto",
        validation_alias="SAVO_TRAIN_DEVICE",
        description="auto (a GPU if there is one), cpu, mps, or CUDA indices such as 0 or 0,1.",
        pattern=r"^(auto|cpu|mps|\d+(,\d+)*)$",
        json_schema_extra={"allowed": "auto, cpu, mps, or CUDA indices such as 0 or 0,1"},
    )
    train_warm_epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        validation_alias="SAVO_TRAIN_WARM_EPOCHS",
        description="Passes when training starts from the champion's weights; unset is SAVO_TRAIN_EPOCHS.",
    )
    train_warm_start: bool = Field(
        True,
        validation_alias="SAVO_TRAIN_WARM_START",
        description="Start from the champion's weights when the data set still has all its classes.",
    )
    train_extra: Annotated[dict[str, Any], NoDecode] = Field(
        default_factory=dict,
        validation_alias="SAVO_TRAIN_EXTRA",
        description='Further training arguments of ultralytics, as JSON: {"mosaic": 0.5}.',
        json_schema_extra={"allowed": "a JSON object"},
    )
    trainer_runner: Literal["local"] = Field(
        "local",
        validation_alias="SAVO_TRAINER_RUNNER",
        description="Where training runs: a subprocess of this machine.",
    )
    trainer_attempts: int = Field(
        3,
        ge=1,
        le=100,
        validation_alias="SAVO_TRAINER_ATTEMPTS",
        description="Attempts at one stage of a run before the run fails.",
    )
    trainer_lease_seconds: float = Field(
        30.0,
        gt=0,
        validation_alias="SAVO_TRAINER_LEASE_SECONDS",
        description="Time without a renewal after which another replica takes over the runs, seconds.",
    )
    gate_map50: float = Field(
        0.75, ge=0, le=1, validation_alias="SAVO_GATE_MAP50", description="Minimum mAP@0.5 of a first model."
    )
    gate_map50_lower: float = Field(
        0.70,
        ge=0,
        le=1,
        validation_alias="SAVO_GATE_MAP50_LOWER",
        description="Minimum lower end of its 95 % interval.",
    )
    gate_min_gain: float = Field(
        0.02,
        ge=0,
        le=1,
        validation_alias="SAVO_GATE_MIN_GAIN",
        description="Gain in mAP@0.5 over the champion that a later model must exceed.",
    )

    @field_validator("train_extra", mode="before")
    @classmethod
    def _extra_is_a_json_object(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @property
    def runs_folder(self) -> Path:
        return self.data_dir / "trainer" / "runs"
