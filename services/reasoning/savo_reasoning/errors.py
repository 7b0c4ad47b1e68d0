"""Why there are no recipes, besides the errors of providers (savo_providers.errors).

NoRecipesError          the request has its answer, and it is this sentence
"""

from __future__ import annotations

__all__ = ["NoRecipesError"]


class NoRecipesError(Exception):
    """The message is what the user reads. `cost_usd` was spent all the same."""

    def __init__(self, message: str, cost_usd: float = 0.0) -> None:
        super().__init__(message)
        self.cost_usd = cost_usd
