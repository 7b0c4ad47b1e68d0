"""What a scan cost: the provider's tokens by its price, our engine by the CPU hour."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.figures import engine_cost_usd
from savo_providers.prices import Price, Usage

__all__ = ["USUAL_CALL", "CostPolicy"]

USUAL_CALL = Usage(input_tokens=1500, output_tokens=1000)
"""A photo, the prompt and twenty-five items: what a call is taken to use before the first one."""


@dataclass(frozen=True)
class CostPolicy:
    provider_price: Price
    cpu_hour_usd: float = 0.04

    def of_tokens(self, usage: Usage) -> float:
        """US dollars."""
        return self.provider_price.of(usage)

    def of_engine(self, seconds: float) -> float:
        """US dollars for seconds of decoding and inference."""
        return engine_cost_usd(seconds, self.cpu_hour_usd)
