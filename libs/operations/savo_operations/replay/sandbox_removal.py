"""Removal of a sandbox: its topics, groups, tables, objects, files, and the progress files of replays into it.

Everything that is deleted has the sandbox's name, so live data is never affected. The removal is refused while a
service runs in the sandbox. The embedded broker cannot delete topics: they stay in memory until `savo up` ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from sqlalchemy import text

from savo_contracts.topics import SERVICES
from savo_operations.replay.replay_state import read_progress
from savo_runtime.database import Database
from savo_runtime.errors import DependencyDownError, FatalError, SavoError
from savo_runtime.messaging.kafka.client_arguments import librdkafka_arguments
from savo_runtime.messaging.kafka.topic_names import name_in_registry, name_on_kafka
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

__all__ = ["Sandbox", "SandboxInUseError", "find_sandbox", "list_sandboxes", "remove_sandbox"]

ANSWER_SECONDS = 15.0
DELETED_SECONDS = 60.0
_ALREADY_DELETED = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND}


class SandboxInUseError(SavoError):
    """A service runs in the sandbox. The message names the sandbox, and the service or its consumer group."""


@dataclass(frozen=True)
class Sandbox:
    """What a sandbox consists of."""

    name: str
    topics: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    objects: int = 0
    schemas: list[str] = field(default_factory=list)
    files: int = 0
    """Files under SAVO_DATA_DIR/sandbox/NAME: tables and run files."""
    replays: int = 0
    """Progress files of replays into it."""
    embedded: bool = False
    """Whether it is on the embedded broker, whose topics cannot be deleted."""

    @property
    def exists(self) -> bool:
        return bool(self.topics or self.groups or self.objects or self.schemas or self.files or self.replays)

    @property
    def has_only_undeletable_topics(self) -> bool:
        """Whether everything that can be deleted is gone."""
        return (
            self.embedded
            and bool(self.topics)
            and not (self.groups or self.objects or self.schemas or self.files or self.replays)
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def find_sandbox(settings: RuntimeSettings, name: str, *, on_kafka: bool = True) -> Sandbox:
    """What the sandbox consists of now.

    `settings`: those of the live product. `on_kafka`: False skips Kafka, for an embedded broker that has stopped.
    Raises `SandboxInUseError`, `FatalError` if the database login may not drop a schema of it, and
    `DependencyDownError` when Kafka, the object store or the database is not available.
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
        replays=len(await asyncio.to_thread(_progress_files, settings, name)),
        embedded=settings.embedded_broker,
    )


async def remove_sandbox(settings: RuntimeSettings, found: Sandbox) -> None:
    """Deletes the sandbox. After an interruption, a second call deletes the rest. Raises what `find_sandbox` raises."""
    if not settings.embedded_broker:
        await asyncio.to_thread(_delete_on_kafka, settings, found)
    await _objects(settings, found.name, delete=True)
    await _drop_schemas(settings, found.schemas)
    await asyncio.to_thread(_delete_files, settings, found.name)


def list_sandboxes(settings: RuntimeSettings) -> list[str]:
    """Names of the sandboxes that have topics. Raises `DependencyDownError` when Kafka is not available."""
    with _kafka_errors():
        topics = AdminClient(librdkafka_arguments(settings)).list_topics(timeout=ANSWER_SECONDS).topics
    return sorted({sandbox for topic in topics if (sandbox := name_in_registry(topic)[1])})


def _on_kafka(settings: RuntimeSettings, name: str) -> tuple[list[str], list[str]]:
    with _kafka_errors():
        admin = AdminClient(librdkafka_arguments(settings))
        topics = sorted(
            topic for topic in admin.list_topics(timeout=ANSWER_SECONDS).topics if name_in_registry(topic)[1] == name
        )
        if settings.embedded_broker:  # it cannot list groups
            return topics, []
        # A group's name contains the name of its topic, see `group_of`.
        own_groups = re.compile(rf"savo\.[a-z]+\.{re.escape(name_on_kafka('', name))}.+")
        groups = [
            group
            for group in admin.list_consumer_groups(request_timeout=ANSWER_SECONDS).result().valid
            if own_groups.fullmatch(group.group_id)
        ]
    inactive = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
    if active := sorted(group.group_id for group in groups if group.state not in inactive):
        raise SandboxInUseError(
            f"a service works in sandbox {name} (group {active[0]}): stop what runs with SAVO_SANDBOX={name} first"
        )
    return topics, sorted(group.group_id for group in groups)


def _delete_on_kafka(settings: RuntimeSettings, found: Sandbox) -> None:
    # Groups first: Kafka refuses to delete a group that has a member, and then no topic is deleted either.
    with _kafka_errors():
        admin = AdminClient(librdkafka_arguments(settings))
        if found.groups:
            _wait(admin.delete_consumer_groups(found.groups, request_timeout=ANSWER_SECONDS), found.name)
        if found.topics:
            timeouts = {"operation_timeout": DELETED_SECONDS, "request_timeout": DELETED_SECONDS}
            _wait(admin.delete_topics(found.topics, **timeouts), found.name)


def _wait(deletions: dict[str, Future[None]], sandbox: str) -> None:
    for name, deletion in deletions.items():
        try:
            deletion.result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP:
                raise SandboxInUseError(
                    f"a service joined group {name} of sandbox {sandbox} during the removal:"
                    f" stop what runs with SAVO_SANDBOX={sandbox}, then run the command again"
                ) from error
            if code not in _ALREADY_DELETED:
                raise


@contextmanager
def _kafka_errors() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise DependencyDownError("kafka", error.args[0].str()) from error


def _check_processes(settings: RuntimeSettings, name: str) -> None:
    """Raises `SandboxInUseError` for a service on this machine; each leaves a run file while it runs."""
    for path in (_folder(settings, name) / "run").glob("*.json"):
        if _is_running(path):
            raise SandboxInUseError(
                f"{path.stem} works in sandbox {name}: stop what runs with SAVO_SANDBOX={name} first"
            )


def _is_running(run_file: Path) -> bool:
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
    """Schemas on PostgreSQL; SQLite's tables are files. Raises `FatalError` if the login may not drop one."""
    if not settings.database_url:
        return []
    sandbox = settings.model_copy(update={"sandbox": name})
    databases = [Database.open(sandbox, service) for service in SERVICES]
    try:
        async with databases[0].session(read_only=True) as session:
            # Not information_schema: it does not list schemas that belong to another role.
            rows = await session.execute(
                text("SELECT nspname, nspowner::regrole::text, pg_has_role(nspowner, 'USAGE') FROM pg_namespace")
            )
            owners = {schema: (owner, may_drop) for schema, owner, may_drop in rows}
    finally:
        await asyncio.gather(*(database.close() for database in databases))
    schemas = [database.service for database in databases if database.service in owners]
    if refused := [f"{schema} of {owners[schema][0]}" for schema in schemas if not owners[schema][1]]:
        raise FatalError(
            f"login {databases[0].url.username} may not drop {', '.join(refused)}:"
            " set SAVO_DATABASE_URL to that of an administrator of the database"
        )
    return schemas


async def _drop_schemas(settings: RuntimeSettings, schemas: list[str]) -> None:
    if not schemas:
        return
    database = Database.open(settings, SERVICES[0])
    try:
        async with database.session() as session:
            for schema in schemas:  # safe to quote: a checked sandbox name and a name of our services
                await session.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    finally:
        await database.close()


def _folder(settings: RuntimeSettings, name: str) -> Path:
    return settings.data_dir / "sandbox" / name


def _progress_files(settings: RuntimeSettings, name: str) -> list[Path]:
    found = []
    for path in (settings.data_dir / "replays").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if read_progress(path)["request"]["sandbox"] == name:
                found.append(path)
    return found


def _delete_files(settings: RuntimeSettings, name: str) -> None:
    _delete_folder(_folder(settings, name))
    for path in _progress_files(settings, name):
        path.unlink(missing_ok=True)
    # The folder store does not delete the folders of deleted objects.
    _delete_folder(settings.data_dir / "objects" / "sandbox" / name)


def _delete_folder(folder: Path) -> None:
    """Raises `FatalError` for a file that may not be deleted."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FatalError(
            f"{error.filename} cannot be deleted ({error.strerror}): fix that, and run the command again for the rest"
        ) from error
