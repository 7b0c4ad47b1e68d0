"""What reasoning reads from the environment. Only app.py does."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, model_validator

from savo_reasoning.prices import DEFAULT_MODELS, PRICES, Prices
from savo_runtime.settings import RuntimeSettings

Provider = Literal["openai", "google"]

UsdPerMillion = Annotated[float, Field(ge=0)]

KEY_OF: dict[Provider, str] = {"openai": "OPENAI_API_KEY", "google": "GOOGLE_API_KEY"}


class ReasoningSettings(RuntimeSettings):
    provider: Provider = Field("openai", validation_alias="SAVO_REASONING_PROVIDER", description="Who writes recipes.")
    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY", description="Key for OpenAI.")
    google_api_key: SecretStr | None = Field(None, validation_alias="GOOGLE_API_KEY", description="Key for Google.")
    openai_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("SAVO_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="Another server that speaks OpenAI's protocol, such as the stand-in.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT]"},
        pattern=r"^https?://\S+$",
    )
    google_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("SAVO_GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        description="Another server that speaks Gemini's protocol, such as the stand-in.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT]"},
        pattern=r"^https?://\S+$",
    )
    model: str | None = Field(None, validation_alias="SAVO_REASONING_MODEL", description="Model that writes recipes; unset is the provider's small one.")
    model_prices: dict[str, tuple[UsdPerMillion, UsdPerMillion]] = Field(
        default_factory=dict,
        validation_alias="SAVO_MODEL_PRICES",
        description="Prices of provider models, added to those that are built in: US dollars a million input and output tokens.",
        json_schema_extra={"allowed": 'JSON like {"gemini-3.5-flash": [1.5, 9]}'},
    )
    timeout_seconds: float = Field(30.0, gt=0, validation_alias="SAVO_REASONING_TIMEOUT_SECONDS", description="Deadline of one request to the provider.")

    @property
    def key(self) -> str | None:
        secret = self.openai_api_key if self.provider == "openai" else self.google_api_key
        return secret.get_secret_value() if secret else None

    @property
    def base_url(self) -> str | None:
        return self.openai_base_url if self.provider == "openai" else self.google_base_url

    @property
    def model_name(self) -> str:
        return self.model or DEFAULT_MODELS[self.provider]

    @property
    def prices(self) -> Prices:
        return (PRICES | {model: Prices(*each) for model, each in self.model_prices.items()})[self.model_name]

    @model_validator(mode="after")
    def _the_model_has_a_price(self) -> Self:
        if self.model_name not in PRICES and self.model_name not in self.model_prices:
            example = f'{{"{self.model_name}": [0.75, 4.5]}}'
            raise ValueError(f"SAVO_REASONING_MODEL={self.model_name!r} has no price: add it by SAVO_MODEL_PRICES, for example {example}")
        return self

    @model_validator(mode="after")
    def _a_chosen_provider_has_its_key(self) -> Self:
        if self.sandbox:
            return self  # nobody is asked there
        if "provider" in self.model_fields_set and not self.key and not self.base_url:
            raise ValueError(f"{KEY_OF[self.provider]} is missing: SAVO_REASONING_PROVIDER={self.provider} needs it; with both unset recipes are switched off")
        return self
