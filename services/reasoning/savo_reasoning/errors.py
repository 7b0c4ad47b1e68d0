"""Error of a recipe request that ends without recipes. `savo_providers.errors` holds the errors of providers."""

from __future__ import annotations

__all__ = ["NoRecipesError"]


class NoRecipesError(Exception):
    """The request is answered without recipes. The user reads the message; `cost_usd` was spent nevertheless."""

    def __init__(self, message: str, cost_usd: float = 0.0) -> None:
        super().__init__(message)
        self.cost_usd = cost_usd
