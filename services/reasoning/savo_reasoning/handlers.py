"""Recipes requested → recipes suggested; scans and people erased → their recipes gone."""

from __future__ import annotations

from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, SCANS_ERASED, SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_reasoning.ports import Shelf
from savo_reasoning.recipes import Suggest
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes, publishes

__all__ = ["subscriptions"]

_CONCURRENCY = 8


@consumes(RECIPES_REQUESTED)
@publishes(RECIPES_SUGGESTED)
async def on_recipes_requested(
    requested: RecipesRequested, suggest: Suggest, replay: str | None
) -> RecipesSuggested | None:
    return await suggest(requested, replayed=replay is not None)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, shelf: Shelf) -> None:
    await shelf.erase_scan(erased)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, shelf: Shelf) -> None:
    await shelf.erase_subject(erased)


def subscriptions(suggest: Suggest, shelf: Shelf) -> list[Subscription]:
    """The routing table."""
    return [
        bind(on_recipes_requested, concurrency=_CONCURRENCY, suggest=suggest),
        bind(on_scan_erased, shelf=shelf),
        bind(on_subject_erased, shelf=shelf),
    ]
