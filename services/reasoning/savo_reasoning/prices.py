"""What a provider's tokens cost. Models and prices change several times a year: both are settings, these are only where they start."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULTS", "ModelOffer", "Prices"]


@dataclass(frozen=True)
class Prices:
    usd_per_million_in: float
    usd_per_million_out: float


@dataclass(frozen=True)
class ModelOffer:
    model: str
    prices: Prices


DEFAULTS = {
    "openai": ModelOffer("gpt-5.4-mini", Prices(0.75, 4.50)),
    "google": ModelOffer("gemini-3.5-flash-lite", Prices(0.30, 2.50)),
}
"""List prices per million tokens, read in autumn 2026."""
