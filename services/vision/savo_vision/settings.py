"""What vision reads from the environment. Only app.py does."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic.config import JsonDict

from savo_contracts.confidence import CONFIDENCE_THRESHOLD
from savo_contracts.scans import Arm
from savo_runtime.settings import RuntimeSettings
from savo_vision.costs import PRICES, Price

Provider = Literal["google", "openai"]
PriceTable = dict[str, Annotated[tuple[float, float], Field(description="US dollars a million input and output tokens.")]]

_HTTP: JsonDict = {"allowed": "http(s)://HOST[:PORT]"}


class RetentionSettings(RuntimeSettings):
    """How long vision remembers."""

    scan_retention_days: float = Field(30.0, gt=0, validation_alias="SAVO_SCAN_RETENTION_DAYS", description="Days that finished scans are kept.")


class VisionSettings(RetentionSettings):
    vision_provider: Provider = Field("google", validation_alias="SAVO_VISION_PROVIDER", description="Who looks at photos beside the custom model.")
    google_api_key: SecretStr | None = Field(None, validation_alias="GOOGLE_API_KEY", description="Key for Google Gemini.")
    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY", description="Key for OpenAI.")
    google_sdk: Literal["genai", "generativeai"] = Field(
        "genai", validation_alias="SAVO_GOOGLE_SDK", description="Google's library; generativeai is out of support and an extra."
    )
    google_model: str = Field("gemini-3.5-flash-lite", min_length=1, validation_alias="SAVO_GOOGLE_MODEL", description="Gemini model that sees photos.")
    openai_model: str = Field("gpt-5.4-mini", min_length=1, validation_alias="SAVO_OPENAI_MODEL", description="OpenAI model that sees photos.")
    google_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("SAVO_GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        description="Another server that speaks Gemini's protocol, such as the stand-in.",
        json_schema_extra=_HTTP,
        pattern=r"^https?://\S+$",
    )
    openai_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("SAVO_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="Another server that speaks OpenAI's protocol, such as the stand-in.",
        json_schema_extra=_HTTP,
        pattern=r"^https?://\S+$",
    )
    use_custom_vision: bool = Field(False, validation_alias="SAVO_USE_CUSTOM_VISION", description="Let our own models answer; false is share 0.")
    custom_vision_model_path: str | None = Field(
        None,
        min_length=1,
        validation_alias="SAVO_CUSTOM_VISION_MODEL_PATH",
        description="The operator's own model, the candidate while SAVO_CUSTOM_VISION_ROLLOUT pins a share.",
        json_schema_extra={"allowed": "a path, s3://BUCKET/KEY or models:/ingredients@champion"},
    )
    custom_vision_rollout: float | None = Field(
        None, ge=0, le=1, validation_alias="SAVO_CUSTOM_VISION_ROLLOUT", description="Pinned share of the custom model; unset = automatic."
    )
    pins: dict[str, Arm] = Field(
        default_factory=dict,
        validation_alias="SAVO_VISION_PINS",
        description="Subjects that support keeps in one arm; their scans are no evidence.",
        json_schema_extra={"allowed": 'JSON like {"SUBJECT": "baseline"}; GET /admin/subject?user_id= tells a subject'},
    )
    detection_engine: Literal["auto", "onnxruntime", "openvino", "openvino-bf16", "cuda", "tensorrt"] = Field(
        "auto",
        validation_alias="SAVO_DETECTION_ENGINE",
        description="What runs the custom model; auto is ONNX Runtime, on the GPU where onnxruntime-gpu finds one.",
    )
    confidence_threshold: float = Field(
        CONFIDENCE_THRESHOLD,
        ge=0,
        le=1,
        validation_alias="SAVO_VISION_CONFIDENCE_THRESHOLD",
        description="Scan confidence under which the provider is asked instead.",
    )
    shadow_share: float = Field(
        0.0, ge=0, le=1, validation_alias="SAVO_SHADOW_SHARE", description="Share of the baseline's scans that the candidate sees too, unseen by users."
    )
    teacher_share: float = Field(
        0.0, ge=0, le=1, validation_alias="SAVO_TEACHER_SHARE", description="Share of our own model's scans that the provider sees too, within its budget."
    )
    daily_budget_usd: float | None = Field(
        None, ge=0, validation_alias="SAVO_GOOGLE_DAILY_BUDGET_USD", description="Most that the provider may cost in a UTC day; unset is no limit."
    )
    model_prices: PriceTable = Field(
        default_factory=dict,
        validation_alias="SAVO_MODEL_PRICES",
        description="Prices of provider models, added to those that are built in: US dollars a million input and output tokens.",
        json_schema_extra={"allowed": 'JSON like {"gemini-3.5-flash": [1.5, 9]}'},
    )
    cpu_hour_usd: float = Field(0.04, ge=0, validation_alias="SAVO_CPU_HOUR_USD", description="Price of an hour of one of our cores.")

    @property
    def provider_model(self) -> str:
        return self.google_model if self.vision_provider == "google" else self.openai_model

    @property
    def provider_base_url(self) -> str | None:
        return self.google_base_url if self.vision_provider == "google" else self.openai_base_url

    @property
    def provider_key(self) -> SecretStr | None:
        return self.google_api_key if self.vision_provider == "google" else self.openai_api_key

    @property
    def provider_price(self) -> Price:
        given = self.model_prices.get(self.provider_model)
        return Price(*given) if given else PRICES[self.provider_model]

    @model_validator(mode="after")
    def _the_provider_can_be_asked(self) -> Self:
        if self.sandbox:
            return self  # nobody is asked there
        if not self.provider_key and not self.provider_base_url:
            variable = "GOOGLE_API_KEY" if self.vision_provider == "google" else "OPENAI_API_KEY"
            ways = f"set {variable}, or start with a stand-in: savo up --standin DIR"
            raise ValueError(f"{variable} is missing for SAVO_VISION_PROVIDER={self.vision_provider}: {ways}")
        return self

    @model_validator(mode="after")
    def _the_model_has_a_price(self) -> Self:
        if self.provider_model not in self.model_prices and self.provider_model not in PRICES:
            variable = "SAVO_GOOGLE_MODEL" if self.vision_provider == "google" else "SAVO_OPENAI_MODEL"
            raise ValueError(
                f"{variable}={self.provider_model!r} has no known price: allowed is one of {', '.join(PRICES)}, "
                f'or any with its price in SAVO_MODEL_PRICES={{"{self.provider_model}": [input, output]}}'
            )
        return self
