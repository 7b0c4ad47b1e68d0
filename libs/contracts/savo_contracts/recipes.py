"""Recipe events: recipes requested and suggested for confirmed ingredients."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from savo_contracts.envelope import Event, Message, Moment, ScanId, Subject, Usd

RecipeId = Annotated[str, Field(min_length=1, max_length=64, description="Random id of one request for recipes.")]


class Recipe(Message):
    title: str = Field(min_length=1, max_length=200)
    ingredients: tuple[str, ...] = Field(min_length=1, description="Ingredients with amounts, as display text.")
    uses: tuple[str, ...] = Field(default=(), description="Labels of the confirmed ingredients that it uses.")
    steps: tuple[str, ...] = Field(min_length=1)
    minutes: int = Field(gt=0, le=1440, description="From start to table.")


class RecipesRequested(Event):
    """A user asked for recipes."""

    type: ClassVar[str] = "savo.recipes.requested.v1"

    recipe_id: RecipeId
    scan_id: ScanId
    subject: Subject
    ingredients: tuple[str, ...] = Field(min_length=1, max_length=60, description="Confirmed labels.")
    requested_at: Moment
    expires_at: Moment


class RecipesSuggested(Event):
    """The recipes for a request, or an error message."""

    type: ClassVar[str] = "savo.recipes.suggested.v1"

    recipe_id: RecipeId
    scan_id: ScanId
    subject: Subject
    recipes: tuple[Recipe, ...] = ()
    error: str | None = Field(
        default=None, max_length=1000, description="Message for the user when there are no recipes."
    )
    provider: str
    model: str
    cost_usd: Usd = 0.0
    suggested_at: Moment
