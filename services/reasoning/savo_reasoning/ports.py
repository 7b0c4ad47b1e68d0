"""Interfaces that the domain needs from adapters, and the data that they exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, Field

from savo_contracts.recipes import RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.users import SubjectErased

__all__ = ["Answer", "AnsweredRecipe", "Cookbook", "Prompt", "RecipeWriter", "SuggestionStore"]


class AnsweredRecipe(BaseModel):
    """The form that a provider fills in: no limits here, since providers' schemas know only some of them."""

    title: str = Field(description="What the dish is called.")
    ingredients: list[str] = Field(description="Everything that goes in, with amounts.")
    uses: list[str] = Field(description="Which of the given labels it uses, spelt as given.")
    steps: list[str] = Field(description="What to do, in order.")
    minutes: int = Field(description="From start to table.")


# Name and fields are part of the schema that the provider gets; a docstring would be too.
class Cookbook(BaseModel):
    recipes: list[AnsweredRecipe]


@dataclass(frozen=True)
class Prompt:
    """What the provider is asked."""

    instructions: str
    """Fixed text of ours."""
    question: str
    """Holds the user's data as JSON."""


@dataclass(frozen=True)
class Answer:
    """Recipes as the provider wrote them, not validated yet, and their cost."""

    cookbook: Cookbook
    cost_usd: float


class RecipeWriter(Protocol):
    """A provider that writes recipes."""

    @property
    def provider(self) -> str:
        """Name in the catalogue."""
        ...

    @property
    def model(self) -> str: ...

    async def write(self, prompt: Prompt, seconds: float) -> Answer:
        """The provider's answer within `seconds`, retries included.

        Raises `NoRecipesError` for an answer without recipes, a `ProviderError` for a failed call, and
        `DependencyDownError` while the provider gets no calls.
        """
        ...

    async def close(self) -> None: ...


class SuggestionStore(Protocol):
    """Finished answers by recipe id, and the erased scans and subjects."""

    async def is_erased(self, scan_id: str, subject: str) -> bool:
        """Whether the scan or the subject was erased."""
        ...

    async def find(self, recipe_id: str) -> RecipesSuggested | None: ...

    async def save(self, suggested: RecipesSuggested) -> RecipesSuggested | None:
        """Stores the answer and returns the valid one: the first that was stored for its recipe id.

        None if its scan or subject was erased in the meantime.
        """
        ...

    async def erase_scan(self, erased: ScanErased) -> None:
        """Records the erasure and deletes the scan's answers."""
        ...

    async def erase_subject(self, erased: SubjectErased) -> None:
        """Records the erasure and deletes the subject's answers."""
        ...
