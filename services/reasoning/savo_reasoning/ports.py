"""What the domain needs from outside."""

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


class Cookbook(BaseModel):
    recipes: list[AnsweredRecipe]


@dataclass(frozen=True)
class Prompt:
    instructions: str
    question: str


@dataclass(frozen=True)
class Answer:
    cookbook: Cookbook
    cost_usd: float


class RecipeWriter(Protocol):
    """A provider behind its SDK."""

    @property
    def provider(self) -> str: ...

    @property
    def model(self) -> str: ...

    async def write(self, prompt: Prompt, seconds: float) -> Answer:
        """Within `seconds`, retries included. Raises `NoRecipesError`, `ProviderError`s, and `DependencyDownError` while the provider is away."""
        ...

    async def close(self) -> None: ...


class SuggestionStore(Protocol):
    """Finished answers by recipe id, and the ledger of the erased."""

    async def is_erased(self, scan_id: str, subject: str) -> bool: ...

    async def find(self, recipe_id: str) -> RecipesSuggested | None: ...

    async def save(self, suggested: RecipesSuggested) -> RecipesSuggested | None:
        """The answer that counts: an earlier one where there is one; None when scan or subject were erased meanwhile."""
        ...

    async def erase_scan(self, erased: ScanErased) -> None: ...

    async def erase_subject(self, erased: SubjectErased) -> None: ...
