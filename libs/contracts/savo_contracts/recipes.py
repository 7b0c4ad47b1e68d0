"""From confirmed ingredients to something to cook."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Message, Moment, ScanId, Subject, Usd

RecipeId = Annotated[str, Field(min_length=1, max_length=64, description="Random id of one request for recipes.")]


class Recipe(Message):
    title: str = Field(min_length=1, max_length=200)
    ingredients: tuple[str, ...] = Field(min_length=1, description="What goes in, with amounts, as a person reads it.")
    uses: tuple[str, ...] = Field(default=(), description="Labels of the confirmed ingredients that it uses.")
    steps: tuple[str, ...] = Field(min_length=1)
    minutes: int = Field(gt=0, le=1440, description="From start to table.")


class RecipesRequested(Event):
    """A user asked what to cook."""

    type: ClassVar[str] = "savo.recipes.requested.v1"

    recipe_id: RecipeId
    scan_id: ScanId
    subject: Subject
    ingredients: tuple[str, ...] = Field(min_length=1, max_length=60, description="Confirmed labels.")
    requested_at: Moment
    expires_at: Moment


class RecipesSuggested(Event):
    """Recipes, or the reason why there are none."""

    type: ClassVar[str] = "savo.recipes.suggested.v1"

    recipe_id: RecipeId
    scan_id: ScanId
    subject: Subject
    recipes: tuple[Recipe, ...] = ()
    error: str | None = Field(
        default=None, max_length=1000, description="What the user reads when there are no recipes."
    )
    provider: str
    model: str
    cost_usd: Usd = 0.0
    suggested_at: Moment
