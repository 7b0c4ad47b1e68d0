"""Settings of reasoning, read from the environment by app.py alone."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from savo_providers.catalogue import GOOGLE, OPENAI
from savo_providers.settings import ProviderSettings, provider_choice


class ReasoningSettings(ProviderSettings):
    """The chosen provider and model for recipes, and the deadline of its calls."""

    provider: str = provider_choice("recipes", OPENAI, "SAVO_REASONING_PROVIDER", "Provider that writes recipes.")
    model: str | None = Field(
        None,
        validation_alias="SAVO_REASONING_MODEL",
        description="Model that writes recipes; default is the provider's small model.",
    )
    timeout_seconds: float = Field(
        30.0,
        gt=0,
        validation_alias="SAVO_REASONING_TIMEOUT_SECONDS",
        description="Deadline of one request to the provider.",
    )

    @property
    def provider_name(self) -> str:
        return self.provider

    @property
    def provider_model(self) -> str:
        return self.model or self.chosen.models["recipes"]

    @model_validator(mode="after")
    def _the_model_has_a_price(self) -> Self:
        if not self.has_price:
            model = self.provider_model
            example = f'{{"{model}": [0.75, 4.5]}}'
            raise ValueError(
                f"SAVO_REASONING_MODEL={model!r} has no price: add one with SAVO_MODEL_PRICES, for example {example}"
            )
        return self

    @model_validator(mode="after")
    def _recipes_use_the_maintained_sdk(self) -> Self:
        if self.google_sdk == "generativeai" and self.chosen is GOOGLE and not self.sandbox:
            raise ValueError(
                "SAVO_GOOGLE_SDK=generativeai is for scans alone, and SAVO_REASONING_PROVIDER=google needs genai:"
                " set SAVO_GOOGLE_SDK=genai for this service, or choose another SAVO_REASONING_PROVIDER"
            )
        return self

    @model_validator(mode="after")
    def _a_chosen_provider_has_its_key(self) -> Self:
        if self.sandbox:
            return self  # a sandbox calls no provider
        if "provider" in self.model_fields_set and not self.can_connect:
            key = self.chosen.key_variable
            raise ValueError(
                f"{key} is missing, and SAVO_REASONING_PROVIDER={self.provider} needs it: set it, or unset both"
                " to switch recipes off"
            )
        return self
