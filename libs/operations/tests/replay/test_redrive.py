"""Tests of redrives: dead letters are sent back once each, and refused after three times."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from uuid import uuid4

from aiokafka import ConsumerRecord

from libs.operations.tests.replay.conftest import Stage
from libs.runtime.tests.messaging.bench import QUICK, eventually, recipes_requested
from savo_contracts.recipes import RecipesRequested
from savo_contracts.topics import AUDIT_RECORDED, RECIPES_REQUESTED
from savo_operations.replay.dead_letters import DeadLetter, DeadLetterSelection
from savo_operations.replay.redrive import Redrive, RedriveState, state_path
from savo_runtime.errors import InvalidMessageError
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, consumes
from savo_runtime.messaging.kafka.topic_reader import TopicReader

DEAD_LETTER_TOPIC = RECIPES_REQUESTED.dead_letters("reasoning")
RECIPE_REQUESTS = DeadLetterSelection(topics=frozenset({RECIPES_REQUESTED.name}))


class Kitchen:
    """A consumer that rejects the recipe ids in `poison`."""

    def __init__(self, *poison: str) -> None:
        self.poison = set(poison)
        self.cooked: Counter[str] = Counter()

    def subscription(self) -> Subscription:
        @consumes(RECIPES_REQUESTED)
        async def cook(event: RecipesRequested) -> None:
            if event.recipe_id in self.poison:
                raise InvalidMessageError(f"no recipe for {event.recipe_id}", reason="poison")
            self.cooked[event.recipe_id] += 1

        return bind(cook)


async def dead_letters(stage: Stage, which: DeadLetterSelection = RECIPE_REQUESTS) -> list[DeadLetter]:
    async with TopicReader(stage.settings) as reader:
        return [dead_letter for source in which.sources() async for dead_letter in which.read(reader, source, None)]


def redrive(stage: Stage, which: DeadLetterSelection = RECIPE_REQUESTS, **options: Any) -> Redrive:
    return Redrive(stage.settings, which, by="a test", **options)


async def test_a_dead_letter_is_handled_after_the_fix_and_a_redrive(stage: Stage) -> None:
    kitchen = Kitchen("fugu")
    for name in ("soup", "fugu"):
        await stage.bench.publish(recipes_requested(name))
    await stage.bench.consume(kitchen.subscription(), limits=QUICK)

    async def has_dead_letter() -> bool:
        return await stage.bench.size(DEAD_LETTER_TOPIC) == 1

    await eventually(has_dead_letter)
    (dead_letter,) = await dead_letters(stage)
    assert (
        dead_letter.reason,
        dead_letter.error_type,
        dead_letter.message,
        dead_letter.attempts,
        dead_letter.redrives,
    ) == (
        "poison",
        "InvalidMessageError",
        "no recipe for fugu",
        1,
        0,
    )
    assert dead_letter.origin == "recipes.requested/0/1"

    preview = await redrive(stage, dry_run=True).run()
    assert preview.redriven == Counter({"poison": 1})
    assert await stage.bench.size(RECIPES_REQUESTED.name) == 2

    kitchen.poison.clear()  # the fix
    report = await redrive(stage, reason="fugu is known now").run()
    assert report.redriven == Counter({"poison": 1})
    await eventually(lambda: kitchen.cooked == Counter({"soup": 1, "fugu": 1}))
    entry = [json.loads(record.value) for record in await stage.records(AUDIT_RECORDED.name)][-1]
    assert (entry["action"], entry["about"], entry["reason"], entry["after"]["records"]) == (
        "dead-letters.redriven",
        DEAD_LETTER_TOPIC,
        "fugu is known now",
        1,
    )

    again = await redrive(stage).run()
    assert (again.redriven.total(), again.redriven_before) == (0, 1), "each dead letter is sent back once"


async def test_a_dead_letter_that_came_back_three_times_is_refused(stage: Stage) -> None:
    await stage.bench.publish(recipes_requested("fugu"))
    await stage.bench.consume(Kitchen("fugu").subscription(), limits=QUICK)
    for returned in range(3):

        async def has_dead_letters(count: int = returned + 1) -> bool:
            return await stage.bench.size(DEAD_LETTER_TOPIC) == count

        await eventually(has_dead_letters)
        assert (await redrive(stage).run()).redriven.total() == 1

    async def has_four_dead_letters() -> bool:
        return await stage.bench.size(DEAD_LETTER_TOPIC) == 4

    await eventually(has_four_dead_letters)
    report = await redrive(stage).run()
    assert report.redriven.total() == 0
    assert [dead_letter.redrives for dead_letter in report.refused] == [3]


async def test_a_run_after_a_crash_sends_no_record_twice(stage: Stage) -> None:
    for number in range(5):
        await stage.bench.send(
            DEAD_LETTER_TOPIC,
            recipes_requested(number).model_dump_json().encode(),
            [("dlq_reason", b"body"), ("ce_id", str(uuid4()).encode())],
        )
    await redrive(stage).run()
    (source,) = RECIPE_REQUESTS.sources()
    sent = await stage.records(RECIPES_REQUESTED.name)
    run = dict(sent[0].headers)["savo-redrive"].decode()
    RedriveState(set(), run, {}).save(stage.settings, source)  # the state before the first batch was acknowledged
    await redrive(stage).run()
    assert len(await stage.records(RECIPES_REQUESTED.name)) == 5
    assert state_path(stage.settings, source).exists()


async def test_dead_letters_are_selected_by_reason_location_and_limit_and_sent_back_unchanged(stage: Stage) -> None:
    body = recipes_requested("x").model_dump_json().encode()
    for reason in (b"body", b"poison", b"poison"):
        await stage.bench.send(
            DEAD_LETTER_TOPIC,
            body,
            [("ce_type", b"savo.recipes.requested.v1"), ("dlq_reason", reason), ("dlq_error_message", b"why")],
            key=b"\xff",
        )
    assert (
        await redrive(stage, DeadLetterSelection(reasons=frozenset({"body"})), dry_run=True).run()
    ).redriven == Counter({"body": 1})
    assert (
        await redrive(stage, DeadLetterSelection(reasons=frozenset({"poison"})), limit=1).run()
    ).redriven == Counter({"poison": 1})
    assert (
        await redrive(stage, DeadLetterSelection(locations=frozenset({"0/0"}), services=frozenset({"reasoning"}))).run()
    ).redriven == Counter({"body": 1})
    back: list[ConsumerRecord] = await stage.records(RECIPES_REQUESTED.name)
    assert [(record.key, record.value) for record in back] == [(b"\xff", body)] * 2
    assert [name for name, _ in back[0].headers] == ["ce_type", "dlq_redrives", "savo-redrive", "savo-replay-from"]
