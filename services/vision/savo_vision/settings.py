"""Settings of the vision service, read from environment variables."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from savo_contracts.confidence import CONFIDENCE_THRESHOLD
from savo_contracts.scans import Arm
from savo_providers.catalogue import GOOGLE, PRICES
from savo_providers.settings import ModelSettings, provider_choice
from savo_runtime.settings import RuntimeSettings


class RetentionSettings(RuntimeSettings):
    """How long results are kept."""

    scan_retention_days: float = Field(
        30.0, gt=0, validation_alias="SAVO_SCAN_RETENTION_DAYS", description="Days that finished scans are kept."
    )


class VisionSettings(ModelSettings, RetentionSettings):
    """All settings of the vision service."""

    vision_provider: str = provider_choice(
        "vision", GOOGLE, "SAVO_VISION_PROVIDER", "Provider that analyses photos beside the custom model."
    )
    use_custom_vision: bool = Field(
        False,
        validation_alias="SAVO_USE_CUSTOM_VISION",
        description="Let trained models answer scans; false is a share of 0.",
    )
    custom_vision_model_path: str | None = Field(
        None,
        min_length=1,
        validation_alias="SAVO_CUSTOM_VISION_MODEL_PATH",
        description="The operator's model, the candidate while SAVO_CUSTOM_VISION_ROLLOUT pins a share.",
        json_schema_extra={"allowed": "a path, s3://BUCKET/KEY or models:/ingredients@champion"},
    )
    custom_vision_rollout: float | None = Field(
        None,
        ge=0,
        le=1,
        validation_alias="SAVO_CUSTOM_VISION_ROLLOUT",
        description="Pinned share of the custom model; unset lets the rollout decide.",
    )
    pins: dict[str, Arm] = Field(
        default_factory=dict,
        validation_alias="SAVO_VISION_PINS",
        description="Subjects that support keeps in one arm; their scans are no evidence.",
        json_schema_extra={"allowed": 'JSON like {"SUBJECT": "baseline"}; GET /admin/subject?user_id= shows a subject'},
    )
    detection_engine: Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"] = Field(
        "auto",
        validation_alias="SAVO_DETECTION_ENGINE",
        description="Inference engine of the custom model; auto is ONNX Runtime, on a GPU that onnxruntime-gpu finds.",
    )
    confidence_threshold: float = Field(
        CONFIDENCE_THRESHOLD,
        ge=0,
        le=1,
        validation_alias="SAVO_VISION_CONFIDENCE_THRESHOLD",
        description="Scan confidence below which the provider is asked instead.",
    )
    shadow_share: float = Field(
        0.0,
        ge=0,
        le=1,
        validation_alias="SAVO_SHADOW_SHARE",
        description="Share of the baseline's scans that the candidate analyses too, invisible to users.",
    )
    teacher_share: float = Field(
        0.0,
        ge=0,
        le=1,
        validation_alias="SAVO_TEACHER_SHARE",
        description="Share of the custom model's scans that the provider analyses too, within its budget.",
    )
    daily_budget_usd: float | None = Field(
        None,
        ge=0,
        validation_alias="SAVO_GOOGLE_DAILY_BUDGET_USD",
        description="The provider's highest cost in a UTC day; unset is no limit.",
    )
    cpu_hour_usd: float = Field(
        0.04, ge=0, validation_alias="SAVO_CPU_HOUR_USD", description="Price of one CPU core for an hour."
    )

    @property
    def provider_name(self) -> str:
        return self.vision_provider

    @property
    def provider_model(self) -> str:
        return str(getattr(self, f"{self.vision_provider}_model"))

    @property
    def adapter(self) -> str:
        """Name of the provider's module in `savo_vision.adapters`."""
        is_legacy = self.chosen is GOOGLE and self.google_sdk == "generativeai"
        return "google_legacy" if is_legacy else self.vision_provider

    @model_validator(mode="after")
    def _provider_can_connect(self) -> Self:
        if self.sandbox:
            return self  # a sandbox makes no calls
        if not self.can_connect:
            variable = self.chosen.key_variable
            ways = f"set {variable}, or start with a stand-in: savo up --standin DIR"
            raise ValueError(f"{variable} is missing for SAVO_VISION_PROVIDER={self.vision_provider}: {ways}")
        return self

    @model_validator(mode="after")
    def _model_has_price(self) -> Self:
        if not self.has_price:
            raise ValueError(
                f"{self.chosen.model_variable}={self.provider_model!r} has no known price. Use one of "
                f"{', '.join(PRICES)}, or set the price in US dollars a million tokens: "
                f'SAVO_MODEL_PRICES={{"{self.provider_model}": [input, output]}}'
            )
        return self
