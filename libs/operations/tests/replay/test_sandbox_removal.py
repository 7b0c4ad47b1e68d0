"""A sandbox taken away: all of it, nothing else, and never while a service works in it."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr
from sqlalchemy import text

from libs.operations.tests.replay.conftest import Stage
from libs.runtime.tests.messaging.bench import eventually, recipes_requested
from savo_contracts.topics import RECIPES_REQUESTED
from savo_operations.replay.sandbox_removal import (
    Sandbox,
    SandboxInUseError,
    find_sandbox,
    list_sandboxes,
    remove_sandbox,
)
from savo_runtime.database import Database
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.broker import group_of
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

TOPIC = RECIPES_REQUESTED.name


async def fill(stage: Stage, *sandboxes: str) -> None:
    """Two records replayed, one object and one table file in each sandbox, and one live object."""
    for number in range(2):
        await stage.bench.publish(recipes_requested(number), partition=number)
    for sandbox in sandboxes:
        await stage.replayed(sandbox=sandbox)
        for settings in (stage.settings, stage.settings.model_copy(update={"sandbox": sandbox})):
            store = open_store(settings)
            await store.put("samples/images/a.jpg", b"photo")
            await store.close()
        files = stage.settings.data_dir / "sandbox" / sandbox / "db"
        files.mkdir(parents=True)
        (files / "vision.sqlite3").write_bytes(b"tables")


@asynccontextmanager
async def a_member(stage: Stage) -> Any:
    """A consumer of the sandbox's group, that has committed."""
    topic = name_on_kafka(TOPIC, stage.sandbox)
    group = {"group_id": group_of("reasoning", topic), "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=stage.settings.kafka_bootstrap_servers, **group)
    await consumer.start()
    try:
        await consumer.getone()
        await consumer.commit()
        yield consumer
    finally:
        await consumer.stop()


async def test_a_sandbox_goes_whole_and_its_neighbour_and_what_is_live_stay(stage: Stage) -> None:
    neighbour = f"{stage.sandbox}0"
    await fill(stage, stage.sandbox, neighbour)
    async with a_member(stage):
        pass
    live = await stage.records(TOPIC)
    found = await find_sandbox(stage.settings, stage.sandbox)
    assert name_on_kafka(TOPIC, stage.sandbox) in found.topics
    assert all(topic.startswith(f"sandbox.{stage.sandbox}.") for topic in found.topics)
    assert (found.objects, found.files, found.replays) == (1, 1, 1)
    assert found.groups == ([] if found.embedded else [group_of("reasoning", name_on_kafka(TOPIC, stage.sandbox))])
    await remove_sandbox(stage.settings, found)

    async def gone() -> bool:
        left = await find_sandbox(stage.settings, stage.sandbox)
        return not left.exists or (
            found.embedded and left == Sandbox(stage.sandbox, topics=found.topics, embedded=True)
        )

    await eventually(gone)
    assert neighbour in list_sandboxes(stage.settings)
    beside = await find_sandbox(stage.settings, neighbour)
    assert (beside.objects, beside.files, beside.replays) == (1, 1, 1)
    assert len(await stage.records(TOPIC, neighbour)) == 2
    assert await stage.records(TOPIC) == live
    store = open_store(stage.settings)
    assert await store.get("samples/images/a.jpg") == b"photo"
    await store.close()


@pytest.mark.kafka
@pytest.mark.parametrize("broker_kind", ["kafka"])
async def test_a_sandbox_with_a_member_in_a_group_is_refused_whole(stage: Stage) -> None:
    await fill(stage, stage.sandbox)
    async with a_member(stage):
        with pytest.raises(SandboxInUseError, match=f"SAVO_SANDBOX={stage.sandbox}"):
            await find_sandbox(stage.settings, stage.sandbox)
    assert len(await stage.records(TOPIC, stage.sandbox)) == 2


@pytest.mark.parametrize("broker_kind", ["embedded"])
async def test_a_sandbox_that_a_process_here_works_in_is_refused(stage: Stage) -> None:
    run = stage.settings.data_dir / "sandbox" / stage.sandbox / "run"
    run.mkdir(parents=True)
    (run / "vision.json").write_text(json.dumps({"pid": os.getpid()}))
    with pytest.raises(SandboxInUseError, match="vision works in sandbox"):
        await find_sandbox(stage.settings, stage.sandbox)


@pytest.mark.postgres
async def test_the_schemas_of_a_sandbox_go_and_those_of_the_product_stay(postgres_url: str, tmp_path: Path) -> None:
    settings = RuntimeSettings(database_url=SecretStr(postgres_url), data_dir=tmp_path, embedded_broker=True)
    database = Database.open(settings, "vision")
    try:
        async with database.session() as session:
            for schema in ("vision", "sandbox_a_b_vision", "sandbox_a_vision"):
                await session.execute(text(f'CREATE SCHEMA "{schema}"'))
                await session.execute(text(f'CREATE TABLE "{schema}".results (id int)'))
        found = await find_sandbox(settings, "a-b", on_kafka=False)
        assert found.schemas == ["sandbox_a_b_vision"]
        await remove_sandbox(settings, found)
        async with database.session() as session:
            left = set((await session.scalars(text("SELECT schema_name FROM information_schema.schemata"))).all())
    finally:
        await database.close()
    assert {"vision", "sandbox_a_vision"} <= left
    assert "sandbox_a_b_vision" not in left


@pytest.mark.postgres
async def test_a_login_that_may_not_drop_a_schema_is_told_so_before_anything_is_gone(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = RuntimeSettings(database_url=SecretStr(postgres_url), data_dir=tmp_path, embedded_broker=True)
    database = Database.open(settings, "vision")
    try:
        async with database.session() as session:
            await session.execute(text("CREATE ROLE another_service LOGIN PASSWORD 'another'"))
            await session.execute(text("CREATE SCHEMA sandbox_replay_vision"))
    finally:
        await database.close()
    url = database.url.set(drivername="postgresql", username="another_service", password="another").render_as_string(
        hide_password=False
    )
    other = settings.model_copy(update={"database_url": SecretStr(url)})
    with pytest.raises(
        FatalError,
        match=r"sandbox_replay_vision of \w+ may not be dropped by this login: give SAVO_DATABASE_URL of an administrator",
    ):
        await find_sandbox(other, "replay", on_kafka=False)
