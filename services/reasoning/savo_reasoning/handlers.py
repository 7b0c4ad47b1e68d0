"""Event handlers: recipe requests are answered, erased scans and subjects lose their recipes."""

from __future__ import annotations

from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, SCANS_ERASED, SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_reasoning.ports import SuggestionStore
from savo_reasoning.recipes import SuggestRecipes
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes, publishes

__all__ = ["subscriptions"]

_CONCURRENCY = 8


@consumes(RECIPES_REQUESTED)
@publishes(RECIPES_SUGGESTED)
async def on_recipes_requested(
    requested: RecipesRequested, suggest: SuggestRecipes, replay: str | None
) -> RecipesSuggested | None:
    return await suggest(requested, replayed=replay is not None)


@consumes(SCANS_ERASED)
async def on_scan_erased(erased: ScanErased, store: SuggestionStore) -> None:
    await store.erase_scan(erased)


@consumes(SUBJECTS_ERASED)
async def on_subject_erased(erased: SubjectErased, store: SuggestionStore) -> None:
    await store.erase_subject(erased)


def subscriptions(suggest: SuggestRecipes, store: SuggestionStore) -> list[Subscription]:
    """The topics that reasoning reads, each with its handler."""
    return [
        bind(on_recipes_requested, concurrency=_CONCURRENCY, suggest=suggest),
        bind(on_scan_erased, store=store),
        bind(on_subject_erased, store=store),
    ]
