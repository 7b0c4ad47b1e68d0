"""What a provider's tokens cost. Models and prices change several times a year: both are settings, these are only where they start."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_MODELS", "PRICES", "Prices"]


@dataclass(frozen=True)
class Prices:
    usd_per_million_in: float
    usd_per_million_out: float


PRICES = {
    # Google's and OpenAI's price lists, autumn 2026. gemini-3.8-flash: the price from January 2027, twice the one before.
    "gemini-3.5-flash-lite": Prices(0.30, 2.50),
    "gemini-3.5-flash": Prices(1.50, 9.00),
    "gemini-3.8-flash": Prices(1.50, 7.50),
    "gemini-3.1-pro-preview": Prices(2.00, 12.00),
    "gpt-5.4-mini": Prices(0.75, 4.50),
    "gpt-5.4-nano": Prices(0.20, 1.25),
}

DEFAULT_MODELS = {"openai": "gpt-5.4-mini", "google": "gemini-3.5-flash-lite"}
