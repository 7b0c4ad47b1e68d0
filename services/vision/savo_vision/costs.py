"""What a scan cost: a provider's own count of tokens by the price table, our engine by the CPU hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from savo_contracts.figures import engine_cost_usd, token_cost_usd

__all__ = ["NOTHING_USED", "PRICES", "USUAL_CALL", "CostPolicy", "Price", "Usage"]


@dataclass(frozen=True)
class Price:
    """US dollars a million tokens."""

    input: float
    output: float


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        # Google's and OpenAI's price lists, autumn 2026. gemini-3.8-flash: the price from January 2027, twice the one before.
        "gemini-3.5-flash-lite": Price(0.30, 2.50),
        "gemini-3.5-flash": Price(1.50, 9.00),
        "gemini-3.8-flash": Price(1.50, 7.50),
        "gemini-3.1-pro-preview": Price(2.00, 12.00),
        "gpt-5.4-mini": Price(0.75, 4.50),
        "gpt-5.4-nano": Price(0.20, 1.25),
    }
)


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them; thinking counts as output."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


NOTHING_USED = Usage()

USUAL_CALL = Usage(input_tokens=1500, output_tokens=1000)
"""A photo, the prompt and twenty-five items: what a call is taken for before one has been seen."""


@dataclass(frozen=True)
class CostPolicy:
    provider_price: Price
    cpu_hour_usd: float = field(default=0.04)

    def of_tokens(self, usage: Usage) -> float:
        """US dollars."""
        return token_cost_usd(usage.input_tokens, usage.output_tokens, self.provider_price.input, self.provider_price.output)

    def of_engine(self, seconds: float) -> float:
        """US dollars for seconds of decoding and inference."""
        return engine_cost_usd(seconds, self.cpu_hour_usd)
