"""Events are published only on topics that the handler or the service declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from libs.runtime.tests.messaging.bench import recipes_requested, recipes_suggested
from savo_contracts.envelope import Envelope
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, SCANS_COMPLETED
from savo_runtime.database import Database
from savo_runtime.messaging.consuming.subscriptions import bind, consumes, publishes
from savo_runtime.messaging.publishing.declared_topics import UndeclaredTopicError
from savo_runtime.messaging.publishing.outbox import Outbox
from savo_runtime.schema import migrate
from savo_runtime.testing import RecordingOutbox


@pytest.fixture(params=["outbox", "recording"])
async def outbox(request: pytest.FixtureRequest, database: Database) -> Any:
    """The outbox of reasoning, which publishes only recipes.suggested."""
    await migrate(database)
    return Outbox("reasoning") if request.param == "outbox" else RecordingOutbox("reasoning")


async def add(outbox: Any, database: Database, *events: Any) -> None:
    async with database.session() as session:
        await outbox.add(session, *events)


async def test_a_service_publishes_only_on_its_own_topics(outbox: Any, database: Database) -> None:
    await add(outbox, database, recipes_suggested("r1"))
    with pytest.raises(
        UndeclaredTopicError,
        match=r"reasoning must not publish recipes\.requested: the registry allows gateway; add reasoning in",
    ):
        await add(outbox, database, recipes_requested("r1"))


@pytest.mark.parametrize(
    ("declared", "refused"), [((RECIPES_SUGGESTED,), False), ((SCANS_COMPLETED,), True), ((), True)]
)
async def test_a_handler_publishes_only_on_its_declared_topics(
    outbox: Any, database: Database, declared: Sequence[Any], refused: bool
) -> None:
    @consumes(RECIPES_REQUESTED)
    @publishes(*declared)
    async def on_requested(requested: RecipesRequested) -> None:
        await add(outbox, database, recipes_suggested(requested.recipe_id))

    handling = bind(on_requested).handle(Envelope.new(recipes_requested("r1"), "gateway"))
    if refused:
        with pytest.raises(UndeclaredTopicError, match=r"must not publish recipes\.suggested: its @publishes names"):
            await handling
    else:
        await handling


async def test_the_declaration_of_a_handler_ends_when_it_returns(outbox: Any, database: Database) -> None:
    @consumes(RECIPES_REQUESTED)
    async def on_requested(requested: RecipesRequested) -> None:
        return None

    await bind(on_requested).handle(Envelope.new(recipes_requested("r1"), "gateway"))
    await add(outbox, database, recipes_suggested("r1"))


async def test_the_recording_outbox_of_an_unknown_service_accepts_any_event(
    database: Database,
) -> None:
    await add(RecordingOutbox("test"), database, recipes_requested("r1"), recipes_suggested("r1"))
