"""Why there are no recipes.

NoRecipesError          the request has its answer, and it is this sentence
ProviderBusyError       the provider may answer in a moment: ask again, a bounded number of times
ProviderRefusedError    the provider will not take our requests: key, model or form are wrong; no retry helps
"""

from __future__ import annotations

__all__ = ["NoRecipesError", "ProviderBusyError", "ProviderRefusedError"]


class NoRecipesError(Exception):
    """The message is what the user reads. `cost_usd` was spent all the same."""

    def __init__(self, message: str, cost_usd: float = 0.0) -> None:
        super().__init__(message)
        self.cost_usd = cost_usd


class ProviderBusyError(Exception):
    """Over its limits, failing, or out of reach. `retry_after` in seconds where it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRefusedError(Exception):
    """The message is for the operator's log, never for the user."""
