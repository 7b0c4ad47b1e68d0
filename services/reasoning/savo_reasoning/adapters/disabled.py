"""Recipe writer for a service without a provider: every request fails with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from savo_reasoning.errors import NoRecipesError
from savo_reasoning.ports import Answer, Prompt

__all__ = ["DisabledWriter"]


@dataclass(frozen=True)
class DisabledWriter:
    """Implements `RecipeWriter`. `reason` completes the message "Recipes are switched off: …"."""

    reason: str
    provider: str = "none"
    model: str = "none"

    async def write(self, prompt: Prompt, seconds: float) -> Answer:
        raise NoRecipesError(f"Recipes are switched off: {self.reason}.")

    async def close(self) -> None:
        return None
