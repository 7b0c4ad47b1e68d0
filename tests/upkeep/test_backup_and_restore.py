"""Tests of backup and restore on real Kafka, PostgreSQL and an S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner, Result

from savo_cli.commands import app
from savo_collector.app import DEFINITION
from savo_collector.settings import CollectorSettings
from savo_contracts.documents import scan_photo_key
from savo_contracts.envelope import Event, ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action, Arm, ConfirmedItem, ScanConfirmed, ScanErased, ServedBy
from savo_contracts.users import SubjectErased
from savo_demo.drawing.scenes import draw_scene
from savo_operations.backup.databases import dump_databases, restore_databases
from savo_operations.backup.offsets import read_committed_offsets, restore_committed_offsets
from savo_runtime.errors import FatalError
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.service_runner import serve
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectStore
from savo_runtime.timing.availability import until_available
from tests.parts.s3 import S3Server

REAL_PARTS = [
    pytest.mark.kafka,
    pytest.mark.postgres,
    pytest.mark.real,
    pytest.mark.slow,
    # On a busy machine aiokafka drops a slow connection and warns when the object is garbage collected.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def on_real_parts(test: Any) -> Any:
    for mark in REAL_PARTS:
        test = mark(test)
    return test


WITHIN = 200.0
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Installation:
    """A small installation: shared Kafka, and a database and a bucket for one test."""

    database_url: str

    @property
    def settings(self) -> CollectorSettings:
        return CollectorSettings()

    def savo(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    @asynccontextmanager
    async def running_collector(self) -> AsyncIterator[None]:
        stop, started = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(
            serve([DEFINITION], {"collector": self.settings}, stop=stop, on_started=lambda _: started.set())
        )
        await asyncio.wait([running, asyncio.create_task(started.wait())], return_when=asyncio.FIRST_COMPLETED)
        yield
        stop.set()
        await running

    async def samples(self) -> set[str]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return {
                row["scan_id"]
                for row in await connection.fetch("SELECT scan_id FROM collector.samples WHERE state = 'stored'")
            }
        except asyncpg.UndefinedTableError:
            return set()
        finally:
            await connection.close()

    async def until_samples(self, *scans: str) -> None:
        async with asyncio.timeout(WITHIN):
            while await self.samples() != set(scans):
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[ObjectStore]:
        store = open_store(self.settings)
        yield store
        await store.close()

    async def sample_photos(self) -> set[str]:
        async with self.store() as store:
            return {info.key async for info in store.list("samples/images/")}

    async def publish(self, *events: Event) -> None:
        publisher = Publisher(self.settings, "gateway")
        for event in events:
            # A new topic may not have a leader yet.
            await until_available(partial(publisher.publish, event, event_id=uuid4()))
        await publisher.stop()

    async def confirm(self, number: int) -> ScanConfirmed:
        """Stores a photo as the gateway does, and publishes its confirmation."""
        photo = draw_scene(77, number).jpeg
        sha256 = hashlib.sha256(photo).hexdigest()
        image = ImageRef(
            key=scan_photo_key(sha256, "image/jpeg"), sha256=sha256, bytes=len(photo), width=640, height=480
        )
        async with self.store() as store:
            await store.put(image.key, photo)
        item = ConfirmedItem(label="milk", action=Action.KEPT, bbox=BoundingBox(x=0.1, y=0.1, width=0.4, height=0.4))
        route: dict[str, Any] = {
            "assigned_arm": Arm.BASELINE,
            "served_by": ServedBy.GOOGLE,
            "model_version": "gemini",
            "bucket": 1,
            "share": 0.0,
        }
        confirmed = ScanConfirmed(
            scan_id=f"scan-{number}",
            subject=f"subject-{number}",
            image=image,
            items=(item,),
            revision=1,
            confirmed_at=NOW,
            **route,
        )
        await self.publish(confirmed)
        return confirmed

    async def lose_everything(self) -> None:
        connection = await asyncpg.connect(self.database_url)
        await connection.execute("DROP SCHEMA collector CASCADE")
        await connection.close()
        async with self.store() as store:
            for key in [info.key async for info in store.list("")]:
                await store.delete(key)


@pytest.fixture
def installation(
    kafka: str, postgres_url: str, moto_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    bucket = replace(moto_s3, bucket=f"savo-{tmp_path.name.replace('_', '-')[:40]}")
    bucket.create_bucket()
    environment = {
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "SAVO_DATABASE_URL": postgres_url,
        "SAVO_S3_ENDPOINT_URL": bucket.endpoint_url,
        "R2_BUCKET_NAME": bucket.bucket,
        "R2_ACCESS_KEY_ID": bucket.access_key_id,
        "R2_SECRET_ACCESS_KEY": bucket.secret_access_key,
        "SAVO_DATA_DIR": str(tmp_path / "data"),
        "SAVO_COLLECT_TRAINING_DATA": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if shutil.which("pg_dump") is None:
        pytest.skip("PostgreSQL's client programs are not installed")
    return Installation(postgres_url)


async def in_thread(command: Callable[..., Result], *arguments: str) -> Result:
    return await asyncio.to_thread(command, *arguments)


@on_real_parts
async def test_a_restore_brings_back_samples_but_none_that_was_erased(
    installation: Installation, tmp_path: Path
) -> None:
    folder = str(tmp_path / "backup")
    async with installation.running_collector():
        for number in (1, 2, 3):
            await installation.confirm(number)
        await installation.until_samples("scan-1", "scan-2", "scan-3")
    kept = {f"samples/{part}" for part in ("images", "labels", "meta")}
    backed_up = await in_thread(installation.savo, "backup", "--output", folder, "--json")
    assert backed_up.exit_code == 0, backed_up.output
    assert json.loads(backed_up.stdout)["databases"] == ["collector"]
    assert {
        path.parent.relative_to(tmp_path / "backup/objects").as_posix()
        for path in (tmp_path / "backup/objects/samples").rglob("*.*")
    } >= kept
    async with installation.running_collector():
        await installation.confirm(4)
        erased_scan = await installation.confirm(5)
        await installation.until_samples("scan-1", "scan-2", "scan-3", "scan-4", "scan-5")
        erasures = [
            ScanErased(scan_id="scan-1", subject="subject-1", erased_at=NOW),
            ScanErased(scan_id="scan-5", subject="subject-5", image_sha256=erased_scan.image.sha256, erased_at=NOW),
            SubjectErased(subject="subject-2", erased_at=NOW),
        ]
        await installation.publish(*erasures)
        await installation.until_samples("scan-3", "scan-4")
        remaining_photos = await installation.sample_photos()
    assert len(remaining_photos) == 2
    await installation.lose_everything()
    restored = await in_thread(installation.savo, "restore", "--input", folder, "--yes", "--json")
    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["objects"]["left_out"] >= 2 * len(kept)
    assert await installation.samples() == {"scan-1", "scan-2", "scan-3"}, (
        "the tables of the backup, before their services start"
    )
    async with installation.store() as store:  # a scan since the backup: the backup does not contain its photo
        photo = draw_scene(77, 4).jpeg
        await store.put(scan_photo_key(hashlib.sha256(photo).hexdigest(), "image/jpeg"), photo)
    async with installation.running_collector():
        await installation.until_samples("scan-3", "scan-4")
    assert await installation.sample_photos() == remaining_photos


@on_real_parts
async def test_a_restore_is_refused_while_a_service_runs_and_changes_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    folder = str(tmp_path / "backup")
    async with installation.running_collector():
        assert (await in_thread(installation.savo, "backup", "--output", folder)).exit_code == 0
        refused = await in_thread(installation.savo, "restore", "--input", folder, "--yes")
    assert refused.exit_code == 1
    assert "savo-collector still run on these databases: stop the services first" in refused.output


@on_real_parts
async def test_the_offsets_of_a_group_with_a_member_are_not_set(installation: Installation) -> None:
    positions = await read_committed_offsets(installation.settings)
    async with installation.running_collector():
        with pytest.raises(FatalError, match="has a member: stop its service"):
            await restore_committed_offsets(installation.settings, positions)


@on_real_parts
def test_an_incomplete_backup_is_refused(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "incomplete").mkdir()
    refused = installation.savo("restore", "--input", str(tmp_path / "incomplete"), "--yes")
    assert refused.exit_code == 1
    assert "is not a complete backup" in refused.output


def test_without_postgresql_s_client_programs_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAVO_DATABASE_URL", "postgres://savo@127.0.0.1:1/savo")
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = CliRunner().invoke(app, ["backup", "--output", str(tmp_path / "backup")])
    assert refused.exit_code == 1
    assert "psql and pg_dump are not installed: install PostgreSQL's client programs" in refused.output
    assert not (tmp_path / "backup").exists()


@pytest.mark.postgres
@pytest.mark.real
@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="PostgreSQL's client programs are not installed")
async def test_a_login_without_the_right_gets_an_error_and_nothing_is_written_or_replaced(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        "CREATE SCHEMA vision; CREATE TABLE vision.results (scan_id text);"
        " CREATE ROLE savo_narrow LOGIN PASSWORD 'narrow'"
    )
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))

    async def savo(url: str, *arguments: str) -> Result:
        monkeypatch.setenv("SAVO_DATABASE_URL", url)
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    narrow = postgres_url.replace("savo:savo@", "savo_narrow:narrow@")
    refused = await savo(narrow, "backup", "--output", str(tmp_path / "backup"))
    assert refused.exit_code == 1
    problem = "vision of savo: set SAVO_DATABASE_URL to that of an administrator of the database"
    assert f"login savo_narrow may not read {problem}" in " ".join(refused.output.split())
    assert not (tmp_path / "backup").exists()
    assert (await savo(postgres_url, "backup", "--output", str(tmp_path / "backup"))).exit_code == 0
    await connection.execute("INSERT INTO vision.results VALUES ('since')")
    refused = await savo(narrow, "restore", "--input", str(tmp_path / "backup"), "--yes")
    assert refused.exit_code == 1
    assert f"login savo_narrow may not replace {problem}" in " ".join(refused.output.split())
    assert await connection.fetchval("SELECT scan_id FROM vision.results") == "since"
    await connection.close()


def test_sqlite_files_are_copied_while_they_are_written(tmp_path: Path) -> None:
    import sqlite3

    settings = RuntimeSettings(data_dir=tmp_path)
    (tmp_path / "db").mkdir()
    with sqlite3.connect(tmp_path / "db" / "gateway.sqlite3") as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("CREATE TABLE scans (scan_id TEXT)")
        live.execute("INSERT INTO scans VALUES ('before')")
        live.commit()
        assert dump_databases(settings, tmp_path / "backup") == ["gateway"]
        live.execute("INSERT INTO scans VALUES ('after')")
    live.close()
    assert restore_databases(settings, tmp_path / "backup") == ["gateway"]
    with sqlite3.connect(tmp_path / "db" / "gateway.sqlite3") as restored:
        assert restored.execute("SELECT * FROM scans").fetchall() == [("before",)]
    restored.close()
