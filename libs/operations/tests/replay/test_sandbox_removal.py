"""Tests of the removal of a sandbox: complete, limited to it, refused while a service runs in it."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import KafkaError, KafkaException
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
from savo_runtime.messaging.kafka.client_arguments import group_of
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
async def group_member(stage: Stage) -> Any:
    """A consumer in the sandbox's group that has committed an offset."""
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


async def test_a_removal_deletes_the_whole_sandbox_but_no_other_and_no_live_data(stage: Stage) -> None:
    other_name = f"{stage.sandbox}0"
    await fill(stage, stage.sandbox, other_name)
    async with group_member(stage):
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
    assert other_name in list_sandboxes(stage.settings)
    other = await find_sandbox(stage.settings, other_name)
    assert (other.objects, other.files, other.replays) == (1, 1, 1)
    assert len(await stage.records(TOPIC, other_name)) == 2
    assert await stage.records(TOPIC) == live
    store = open_store(stage.settings)
    assert await store.get("samples/images/a.jpg") == b"photo"
    await store.close()


@pytest.mark.kafka
@pytest.mark.parametrize("broker_kind", ["kafka"])
async def test_a_sandbox_with_a_member_in_a_group_is_not_removed(stage: Stage) -> None:
    await fill(stage, stage.sandbox)
    async with group_member(stage):
        with pytest.raises(SandboxInUseError, match=f"SAVO_SANDBOX={stage.sandbox}"):
            await find_sandbox(stage.settings, stage.sandbox)
    assert len(await stage.records(TOPIC, stage.sandbox)) == 2


@pytest.mark.parametrize("broker_kind", ["embedded"])
async def test_a_sandbox_with_a_running_process_on_this_machine_is_not_removed(stage: Stage) -> None:
    run = stage.settings.data_dir / "sandbox" / stage.sandbox / "run"
    run.mkdir(parents=True)
    (run / "vision.json").write_text(json.dumps({"pid": os.getpid()}))
    with pytest.raises(SandboxInUseError, match="vision works in sandbox"):
        await find_sandbox(stage.settings, stage.sandbox)


async def test_a_group_with_a_new_member_is_named_with_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "savo.vision.sandbox.replay.scans.requested"

    class Admin:
        def __init__(self, arguments: dict[str, Any]) -> None: ...

        def delete_consumer_groups(self, groups: list[str], **_: Any) -> dict[str, Future[None]]:
            refused: Future[None] = Future()
            refused.set_exception(KafkaException(KafkaError(KafkaError.NON_EMPTY_GROUP)))
            return dict.fromkeys(groups, refused)

    monkeypatch.setattr("savo_operations.replay.sandbox_removal.AdminClient", Admin)
    settings = RuntimeSettings(data_dir=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
    with pytest.raises(SandboxInUseError, match=f"joined group {group} of sandbox replay .* SAVO_SANDBOX=replay"):
        await remove_sandbox(settings, Sandbox("replay", groups=[group]))


@pytest.mark.postgres
async def test_a_removal_drops_the_schemas_of_the_sandbox_and_keeps_the_live_ones(
    postgres_url: str, tmp_path: Path
) -> None:
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
async def test_a_login_that_may_not_drop_a_schema_is_refused_before_anything_is_deleted(
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
    login = database.url.set(drivername="postgresql", username="another_service", password="another")
    url = login.render_as_string(hide_password=False)
    other = settings.model_copy(update={"database_url": SecretStr(url)})
    message = (
        r"login another_service may not drop sandbox_replay_vision of \w+: set SAVO_DATABASE_URL to that of an admin"
    )
    with pytest.raises(FatalError, match=message):
        await find_sandbox(other, "replay", on_kafka=False)
