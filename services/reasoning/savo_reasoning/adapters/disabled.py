"""Recipes switched off: every request is answered, with the way to switch them on."""

from __future__ import annotations

from dataclasses import dataclass

from savo_reasoning.errors import NoRecipesError
from savo_reasoning.ports import Answer, Prompt

__all__ = ["SwitchedOff"]


@dataclass(frozen=True)
class SwitchedOff:
    """Implements `RecipeWriter`."""

    missing: str
    """The variable that would switch them on."""
    provider: str = "none"
    model: str = "none"

    async def write(self, prompt: Prompt) -> Answer:
        raise NoRecipesError(f"Recipes are switched off: the operator has not set {self.missing}.")
