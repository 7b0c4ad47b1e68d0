"""What reasoning reads from the environment. Only app.py does."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from savo_runtime.settings import RuntimeSettings

Provider = Literal["openai", "google"]

KEY_OF: dict[Provider, str] = {"openai": "OPENAI_API_KEY", "google": "GOOGLE_API_KEY"}


class ReasoningSettings(RuntimeSettings):
    provider: Provider = Field("openai", validation_alias="SAVO_REASONING_PROVIDER", description="Who writes recipes.")
    openai_api_key: SecretStr | None = Field(None, validation_alias="OPENAI_API_KEY", description="Key for OpenAI.")
    google_api_key: SecretStr | None = Field(None, validation_alias="GOOGLE_API_KEY", description="Key for Google.")
    openai_base_url: str | None = Field(
        None,
        validation_alias="SAVO_OPENAI_BASE_URL",
        description="Another server that speaks OpenAI's language, such as the stand-in.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT][/PATH]"},
        pattern=r"^https?://\S+$",
    )
    google_base_url: str | None = Field(
        None,
        validation_alias="SAVO_GOOGLE_BASE_URL",
        description="Another server that speaks Gemini's language, such as the stand-in.",
        json_schema_extra={"allowed": "http(s)://HOST[:PORT][/PATH]"},
        pattern=r"^https?://\S+$",
    )
    model: str | None = Field(None, validation_alias="SAVO_REASONING_MODEL", description="Model that writes recipes; unset is the provider's small one.")
    usd_per_million_in: float | None = Field(
        None,
        ge=0,
        validation_alias="SAVO_REASONING_USD_PER_MILLION_IN",
        description="Price of a million input tokens; unset is the list price.",
    )
    usd_per_million_out: float | None = Field(
        None,
        ge=0,
        validation_alias="SAVO_REASONING_USD_PER_MILLION_OUT",
        description="Price of a million output tokens; unset is the list price.",
    )
    timeout_seconds: float = Field(30.0, gt=0, validation_alias="SAVO_REASONING_TIMEOUT_SECONDS", description="Deadline of one request to the provider.")

    @property
    def key(self) -> str | None:
        secret = self.openai_api_key if self.provider == "openai" else self.google_api_key
        return secret.get_secret_value() if secret else None

    @property
    def base_url(self) -> str | None:
        return self.openai_base_url if self.provider == "openai" else self.google_base_url

    @model_validator(mode="after")
    def _a_chosen_provider_has_its_key(self) -> Self:
        if "provider" in self.model_fields_set and not self.key and not self.base_url:
            raise ValueError(f"{KEY_OF[self.provider]} is missing: SAVO_REASONING_PROVIDER={self.provider} needs it; with both unset recipes are switched off")
        return self
