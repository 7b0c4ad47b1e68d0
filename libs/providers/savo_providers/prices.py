"""Token counts of a call and their price."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.figures import token_cost_usd

__all__ = ["NOTHING_USED", "Price", "Usage"]


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls as the provider counted them; thinking counts as output."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


NOTHING_USED = Usage()


@dataclass(frozen=True)
class Price:
    """Price of a model, in US dollars for a million tokens."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """Cost in US dollars."""
        return token_cost_usd(usage.input_tokens, usage.output_tokens, self.input, self.output)
