"""Catalogue of the paid providers: one row of data each.

Settings, price table, stand-in, `savo doctor` and error messages are derived from these rows. Code for one provider is
an adapter of the service that calls it: `savo_vision/adapters/NAME.py`, `savo_reasoning/adapters/NAME.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from savo_providers.prices import Price

__all__ = ["GOOGLE", "OPENAI", "PRICES", "PROVIDERS", "Provider", "Task", "provider_named", "title_of"]

Task = Literal["vision", "recipes"]


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A paid API that answers photos or recipe requests."""

    name: str
    """Identifier in settings, events (a value of `savo_contracts.scans.ServedBy`), metrics and tables."""
    title: str
    """Name in messages for people."""
    protocol: str
    """Name of its wire format and of its family of models."""
    key_variable: str
    base_url_variables: tuple[str, ...]
    """Variables for the address of another server with the same protocol: ours first, then those of the SDK."""
    model_variable: str
    """Variable for its model in vision. Reasoning has one variable for all providers."""
    models: Mapping[Task, str]
    """Default model for each task that it supports. The service of each task has an adapter of the provider's name."""
    prices: Mapping[str, Price]
    """Built-in price of each model. Prices change several times a year: SAVO_MODEL_PRICES overrides them."""
    standin_path: str | None = None
    """Path below the stand-in's address that serves this protocol; None if the stand-in does not support it."""

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.key_variable, *self.base_url_variables, self.model_variable)


GOOGLE = Provider(
    name="google",
    title="Google",
    protocol="Gemini",
    key_variable="GOOGLE_API_KEY",
    base_url_variables=("SAVO_GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
    model_variable="SAVO_GOOGLE_MODEL",
    models={"vision": "gemini-3.5-flash-lite", "recipes": "gemini-3.5-flash-lite"},
    prices={
        # Google's price list, autumn 2026. gemini-3.8-flash: the price from January 2027, twice the earlier one.
        "gemini-3.5-flash-lite": Price(0.30, 2.50),
        "gemini-3.5-flash": Price(1.50, 9.00),
        "gemini-3.8-flash": Price(1.50, 7.50),
        "gemini-3.1-pro-preview": Price(2.00, 12.00),
    },
    standin_path="",
)

OPENAI = Provider(
    name="openai",
    title="OpenAI",
    protocol="OpenAI",
    key_variable="OPENAI_API_KEY",
    base_url_variables=("SAVO_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
    model_variable="SAVO_OPENAI_MODEL",
    models={"vision": "gpt-5.4-mini", "recipes": "gpt-5.4-mini"},
    prices={
        # OpenAI's price list, autumn 2026.
        "gpt-5.4-mini": Price(0.75, 4.50),
        "gpt-5.4-nano": Price(0.20, 1.25),
    },
    standin_path="/v1",
)

PROVIDERS: tuple[Provider, ...] = (GOOGLE, OPENAI)

PRICES: Mapping[str, Price] = MappingProxyType(
    {model: price for provider in PROVIDERS for model, price in provider.prices.items()}
)
"""By model."""


def provider_named(name: str) -> Provider:
    """Raises `KeyError`."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    raise KeyError(f"no provider {name!r}; there are {', '.join(provider.name for provider in PROVIDERS)}")


def title_of(name: str) -> str:
    """Title of a provider. Any other text is returned as it is: a title, or a name that this release does not know."""
    return next((provider.title for provider in PROVIDERS if provider.name == name), name)
