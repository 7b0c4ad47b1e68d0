"""Cost of a scan: the provider's tokens by its price table, the engine's seconds by the price of a CPU hour."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.figures import engine_cost_usd
from savo_providers.prices import Price, Usage

__all__ = ["TYPICAL_CALL", "CostPolicy"]

TYPICAL_CALL = Usage(input_tokens=1500, output_tokens=1000)
"""Estimated usage before the first call: a photo, the prompt and twenty-five items."""


@dataclass(frozen=True)
class CostPolicy:
    """Prices in US dollars."""

    provider_price: Price
    cpu_hour_usd: float = 0.04

    def of_tokens(self, usage: Usage) -> float:
        """US dollars."""
        return self.provider_price.of(usage)

    def of_engine(self, seconds: float) -> float:
        """US dollars for seconds of decoding and inference."""
        return engine_cost_usd(seconds, self.cpu_hour_usd)
