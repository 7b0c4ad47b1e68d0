"""A sandbox taken away whole: its topics and groups, its tables, its objects, its files, and the notes of replays into it.

Only what bears the sandbox's name is ever named here, so nothing live can be meant. A sandbox that a service works in is refused.
The embedded broker cannot delete a topic: there it stays, in memory, until `savo up` ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from savo_contracts.topics import SERVICES
from savo_runtime.database import Database
from savo_runtime.errors import DependencyDownError, FatalError, SavoError
from savo_runtime.messaging.kafka.broker import librdkafka_arguments
from savo_runtime.messaging.kafka.topic_names import name_in_registry, name_on_kafka
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

__all__ = ["Sandbox", "SandboxInUseError", "find_sandbox", "list_sandboxes", "remove_sandbox"]

ANSWER_SECONDS = 15.0
DELETED_SECONDS = 60.0
_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND}


class SandboxInUseError(SavoError):
    """A service works in it; the message says which."""


@dataclass(frozen=True)
class Sandbox:
    """What there is of it."""

    name: str
    topics: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    objects: int = 0
    schemas: list[str] = field(default_factory=list)
    files: int = 0
    """Under SAVO_DATA_DIR/sandbox/NAME: tables and run files."""
    replays: int = 0
    """Notes of replays into it."""
    embedded: bool = False
    """Its topics cannot be deleted."""

    @property
    def exists(self) -> bool:
        return bool(self.topics or self.groups or self.objects or self.schemas or self.files or self.replays)

    @property
    def has_only_undeletable_topics(self) -> bool:
        """Nothing of it can be deleted any more."""
        return (
            self.embedded
            and bool(self.topics)
            and not (self.groups or self.objects or self.schemas or self.files or self.replays)
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def find_sandbox(settings: RuntimeSettings, name: str, *, on_kafka: bool = True) -> Sandbox:
    """`settings`: those of the live product. `on_kafka` False: the broker is gone, and its topics with it.

    Raises `SandboxInUseError`, `FatalError` when this login of the database may not drop a schema of it, and `DependencyDownError` when Kafka,
    the store or the database is away.
    """
    topics, groups = await asyncio.to_thread(_on_kafka, settings, name) if on_kafka else ([], [])
    _check_processes(settings, name)
    return Sandbox(
        name=name,
        topics=topics,
        groups=groups,
        objects=await _objects(settings, name, delete=False),
        schemas=await _schemas(settings, name),
        files=await asyncio.to_thread(lambda: sum(path.is_file() for path in _folder(settings, name).rglob("*"))),
        replays=len(await asyncio.to_thread(_notes, settings, name)),
        embedded=settings.embedded_broker,
    )


async def remove_sandbox(settings: RuntimeSettings, found: Sandbox) -> None:
    """All of it. Repeated after an interruption it takes away the rest. Raises what `find_sandbox` raises."""
    if not settings.embedded_broker:
        await asyncio.to_thread(_delete_on_kafka, settings, found)
    await _objects(settings, found.name, delete=True)
    await _drop_schemas(settings, found.schemas)
    await asyncio.to_thread(_delete_files, settings, found.name)


def list_sandboxes(settings: RuntimeSettings) -> list[str]:
    """The names of those that have topics. Raises `DependencyDownError`."""
    with _kafka_errors():
        topics = AdminClient(librdkafka_arguments(settings)).list_topics(timeout=ANSWER_SECONDS).topics
    return sorted({sandbox for topic in topics if (sandbox := name_in_registry(topic)[1])})


def _on_kafka(settings: RuntimeSettings, name: str) -> tuple[list[str], list[str]]:
    with _kafka_errors():
        admin = AdminClient(librdkafka_arguments(settings))
        topics = sorted(
            topic for topic in admin.list_topics(timeout=ANSWER_SECONDS).topics if name_in_registry(topic)[1] == name
        )
        if settings.embedded_broker:  # it tells of no groups
            return topics, []
        # A group's name holds that of its topic, see `group_of`.
        own = re.compile(rf"savo\.[a-z]+\.{re.escape(name_on_kafka('', name))}.+")
        groups = [
            group
            for group in admin.list_consumer_groups(request_timeout=ANSWER_SECONDS).result().valid
            if own.fullmatch(group.group_id)
        ]
    if busy := sorted(
        group.group_id for group in groups if group.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
    ):
        raise SandboxInUseError(
            f"a service works in sandbox {name} (group {busy[0]}): stop what runs with SAVO_SANDBOX={name} first"
        )
    return topics, sorted(group.group_id for group in groups)


def _delete_on_kafka(settings: RuntimeSettings, found: Sandbox) -> None:
    """Groups first: Kafka refuses that while one has a member, and then nothing is gone."""
    with _kafka_errors():
        admin = AdminClient(librdkafka_arguments(settings))
        waiting = admin.delete_consumer_groups(found.groups, request_timeout=ANSWER_SECONDS) if found.groups else {}
        for future in waiting.values():
            _done(future)
        waiting = (
            admin.delete_topics(found.topics, operation_timeout=DELETED_SECONDS, request_timeout=DELETED_SECONDS)
            if found.topics
            else {}
        )
        for future in waiting.values():
            _done(future)


def _done(future: Any) -> None:
    try:
        future.result()
    except KafkaException as refused:
        if refused.args[0].code() == KafkaError.NON_EMPTY_GROUP:
            raise SandboxInUseError("a service joined a group of the sandbox just now: stop it first") from refused
        if refused.args[0].code() not in _GONE:
            raise


@contextmanager
def _kafka_errors() -> Iterator[None]:
    try:
        yield
    except KafkaException as fault:
        raise DependencyDownError("kafka", fault.args[0].str()) from fault


def _check_processes(settings: RuntimeSettings, name: str) -> None:
    """Of this machine, by what they leave while they live."""
    for path in (_folder(settings, name) / "run").glob("*.json"):
        if _lives(path):
            raise SandboxInUseError(
                f"{path.stem} works in sandbox {name}: stop what runs with SAVO_SANDBOX={name} first"
            )


def _lives(run_file: Path) -> bool:
    try:
        os.kill(int(json.loads(run_file.read_text(encoding="utf-8"))["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError):
        return False
    return True


async def _objects(settings: RuntimeSettings, name: str, *, delete: bool) -> int:
    store, count = open_store(settings.model_copy(update={"sandbox": None})), 0
    try:
        async for info in store.list(f"sandbox/{name}/"):
            count += 1
            if delete:
                await store.delete(info.key)
    finally:
        await store.close()
    return count


async def _schemas(settings: RuntimeSettings, name: str) -> list[str]:
    """On PostgreSQL; SQLite's tables are files. Raises `FatalError` for one that this login may not drop."""
    if not settings.database_url:
        return []
    sandbox = settings.model_copy(update={"sandbox": name})
    databases = [Database.open(sandbox, service) for service in SERVICES]
    try:
        async with databases[0].session(read_only=True) as session:
            # Not information_schema, which leaves out what belongs to the role of another service.
            rows = await session.execute(
                text("SELECT nspname, nspowner::regrole::text, pg_has_role(nspowner, 'USAGE') FROM pg_namespace")
            )
            there = {schema: (owner, mine) for schema, owner, mine in rows}
    finally:
        await asyncio.gather(*(database.close() for database in databases))
    schemas = [database.service for database in databases if database.service in there]
    if others := [f"{schema} of {there[schema][0]}" for schema in schemas if not there[schema][1]]:
        raise FatalError(
            f"{', '.join(others)} may not be dropped by this login: give SAVO_DATABASE_URL of an administrator of the database"
        )
    return schemas


async def _drop_schemas(settings: RuntimeSettings, schemas: list[str]) -> None:
    if not schemas:
        return
    database = Database.open(settings, SERVICES[0])
    try:
        async with database.session() as session:
            for schema in schemas:  # made of the settings' pattern and our own services' names
                await session.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    finally:
        await database.close()


def _folder(settings: RuntimeSettings, name: str) -> Path:
    return settings.data_dir / "sandbox" / name


def _notes(settings: RuntimeSettings, name: str) -> list[Path]:
    found = []
    for path in (settings.data_dir / "replays").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(path.read_text(encoding="utf-8"))["order"]["sandbox"] == name:
                found.append(path)
    return found


def _delete_files(settings: RuntimeSettings, name: str) -> None:
    _delete_folder(_folder(settings, name))
    for note in _notes(settings, name):
        note.unlink(missing_ok=True)
    _delete_folder(
        settings.data_dir / "objects" / "sandbox" / name
    )  # the folder store leaves the folders of what it deleted


def _delete_folder(folder: Path) -> None:
    """Raises `FatalError` for what may not be deleted."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as flaw:
        raise FatalError(
            f"{flaw.filename} cannot be deleted ({flaw.strerror}): mend that, and the same command takes away the rest"
        ) from flaw
