"""Projections that also keep the review queue: a doubtful sample or rejection is queued."""

from __future__ import annotations

from dataclasses import dataclass

from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesSuggested
from savo_contracts.samples import SampleErased, SampleRejected, SampleStored
from savo_contracts.training import TrainingFinished
from savo_gateway.adapters.label_quality.review_store import SqlReviews
from savo_gateway.ports import Projections

__all__ = ["QueueingProjections"]


@dataclass(frozen=True)
class QueueingProjections:
    """Implements `ports.Projections`."""

    projections: Projections
    reviews: SqlReviews

    async def sample_stored(self, stored: SampleStored) -> None:
        await self.projections.sample_stored(stored)
        await self.reviews.sample_stored(stored)

    async def sample_rejected(self, rejected: SampleRejected) -> None:
        await self.projections.sample_rejected(rejected)
        await self.reviews.sample_rejected(rejected)

    async def sample_erased(self, erased: SampleErased) -> None:
        await self.projections.sample_erased(erased)
        await self.reviews.sample_erased(erased)

    async def training_finished(self, finished: TrainingFinished) -> None:
        await self.projections.training_finished(finished)

    async def model_registered(self, model: ModelRegistered) -> None:
        await self.projections.model_registered(model)

    async def recipes_suggested(self, suggested: RecipesSuggested) -> None:
        await self.projections.recipes_suggested(suggested)
