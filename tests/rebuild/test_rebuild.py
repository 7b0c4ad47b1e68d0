"""Tests that every projection can be rebuilt from its topics, on Kafka after compaction and on the embedded broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from sqlalchemy import text

from savo_contracts.envelope import ImageRef
from savo_contracts.models import ModelRegistered
from savo_contracts.recipes import RecipesRequested
from savo_contracts.scans import (
    Action,
    Arm,
    ConfirmedItem,
    ScanCompleted,
    ScanConfirmed,
    ScanErased,
    ScanFailed,
    ServedBy,
)
from savo_contracts.topics import SCANS_CONFIRMED
from savo_contracts.users import SubjectErased
from savo_operations.rebuild.ordered_reader import open_ordered_reader
from savo_operations.rebuild.rebuild import RebuildReport, rebuild
from savo_providers.errors import ProviderAnswerError
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.publishing.publisher import OutgoingRecord
from savo_vision.adapters.results import StoredResults
from savo_vision.ports import Finished
from services.gateway.tests.photos import photo
from tests.parts.kafka import RealKafka
from tests.rebuild.in_process_flywheel import DEFINITIONS, InProcessFlywheel, running_flywheel

QUICK_COMPACTION = {
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.001",
    "max.compaction.lag.ms": "200",
    "delete.retention.ms": "100",
}


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.real
@pytest.mark.timeout(700)
async def test_on_kafka_and_postgresql_every_projection_is_rebuilt_after_compaction(
    own_kafka: RealKafka, postgres_url: str, tmp_path: Path
) -> None:
    async with running_flywheel(
        tmp_path, own_kafka.bootstrap_servers, embedded=False, database_url=postgres_url
    ) as flywheel:
        compact_quickly(own_kafka.bootstrap_servers)
        await create_history(flywheel)
        await wait_for_compaction(flywheel)
        await check_that_rebuilt_tables_are_equal(flywheel)
        await check_that_damage_is_found_and_repaired(flywheel)


@pytest.mark.slow(20)
async def test_on_the_embedded_broker_every_projection_is_rebuilt(
    embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with running_flywheel(tmp_path, embedded_broker.bootstrap_servers, embedded=True) as flywheel:
        await create_history(flywheel)
        await check_that_rebuilt_tables_are_equal(flywheel)
        await check_that_damage_is_found_and_repaired(flywheel)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_projection_reads_the_topics_of_its_tables(name: str, tmp_path: Path) -> None:
    projection = DEFINITIONS[name].projection
    assert projection is not None
    runtime: Any = type("Nothing", (), {"database": None, "outbox": None, "store": None, "clock": None})
    folded = {
        each.topic.name for each in projection.fold(projection.settings(data_dir=tmp_path), runtime).subscriptions
    }
    assert folded == {topic.name for topic in projection.topics}


# ── history ─────────────────────────────────────────────────────────────────


async def create_history(flywheel: InProcessFlywheel) -> None:
    """Creates events of every kind.

    Answers, a failed scan, repeated corrections, a withdrawn sample, erasures, a refused photo, a training threshold, a
    trial.
    """
    scans = [await scan(flywheel, seed, user=f"user-{seed % 4}") for seed in range(1, 9)]
    await flywheel.process_all()
    for scan_id in scans[:6]:
        await confirm(flywheel, scan_id, {"all_correct": True})
    await flywheel.process_all()
    await confirm(flywheel, scans[0], {"items": [{"label": "milk", "from_label": "egg", "action": "renamed"}]})
    # Without items there is nothing to learn from: the sample is withdrawn.
    await confirm(flywheel, scans[1], {"items": [{"label": "egg", "action": "removed"}]})
    # An item without a box: the sample is pending.
    items = [{"label": "egg", "action": "kept"}, {"label": "zorblax", "action": "added"}]
    await confirm(flywheel, scans[6], {"items": items})
    await flywheel.process_all()
    await confirm(flywheel, scans[0], {"items": [{"label": "tomato", "from_label": "egg", "action": "renamed"}]})
    twin = await scan(flywheel, 5, user="user-9")  # the same bytes as the sample of another user
    await flywheel.process_all()
    await confirm(flywheel, twin, {"all_correct": True})
    flywheel.provider.error = ProviderAnswerError("google", "gave an answer that is not complete JSON")
    await scan(flywheel, 20, user="user-5")
    await flywheel.process_all()
    await erase(flywheel, scans[2], scans[3])
    await run_trial(flywheel)
    await flywheel.process_all()


async def scan(flywheel: InProcessFlywheel, seed: int, *, user: str) -> str:
    picture = photo(256, 192, seed=seed, quality=95)
    answer = await flywheel.http.post("/v1/scans", files={"image": ("p.jpg", picture)}, data={"user_id": user})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["scan_id"])


async def confirm(flywheel: InProcessFlywheel, scan_id: str, body: dict[str, Any]) -> None:
    answer = await flywheel.http.post(f"/v1/scans/{scan_id}/confirmation", json=body)
    assert answer.status_code == 202, answer.text


async def erase(flywheel: InProcessFlywheel, scan_id: str, other: str) -> None:
    now = datetime.now(UTC)
    async with flywheel.runtimes["gateway"].database.session(read_only=True) as session:
        subjects = {
            row.scan_id: row.subject for row in await session.execute(text("SELECT scan_id, subject FROM scans"))
        }
    await flywheel.publish("gateway", ScanErased(scan_id=scan_id, subject=subjects[scan_id], erased_at=now))
    await flywheel.publish("gateway", SubjectErased(subject=subjects[other], erased_at=now))
    await flywheel.publish(
        "gateway",
        RecipesRequested(
            recipe_id="r1", scan_id="s", subject="x", ingredients=("egg",), requested_at=now, expires_at=now
        ),
    )


async def run_trial(flywheel: InProcessFlywheel) -> None:
    """Evidence for v1 from twelve subjects: some scan twice, one scan fails, some are corrected again."""
    await flywheel.publish("trainer", registered())
    await flywheel.process_all()
    for number in range(16):
        results: list[Finished] = [answered(number), *([failed(number)] if number == 7 else [])]
        for result in results:
            await StoredResults(flywheel.runtimes["vision"].database).save(result)
            await flywheel.publish("vision", result)
        await flywheel.publish(
            "gateway", *[confirmed(number, revision) for revision in range(1, 3 if number % 10 == 0 else 2)]
        )


def registered() -> ModelRegistered:
    import json

    from savo_contracts import envelope

    example = Path(envelope.__file__).parent / "examples" / "models.registered" / "first.json"
    return ModelRegistered.model_validate(json.loads(example.read_text())["value"])


NOW = datetime.now(UTC)
ROUTE = {
    "experiment": "v1",
    "assigned_arm": Arm.CANDIDATE,
    "served_by": ServedBy.CUSTOM,
    "model_version": "v1",
    "bucket": 3,
    "share": 0.05,
}


def scan_fields(number: int) -> dict[str, Any]:
    image = ImageRef(key=f"scans/aa/{number:064x}.jpg", sha256=f"{number:064x}", bytes=10, width=10, height=10)
    return {"scan_id": f"trial-{number}", "subject": f"person-{number % 12}", "image": image}


def answered(number: int) -> ScanCompleted:
    figures = {"items": (), "scan_confidence": 0.9, "duration_ms": 900.0 + 10 * number, "cost_usd": 0.001 * number}
    return ScanCompleted(
        **scan_fields(number), **ROUTE, **figures, requested_at=NOW, completed_at=NOW + timedelta(seconds=1)
    )


def failed(number: int) -> ScanFailed:
    fields = {
        "scan_id": "trial-failed",
        "subject": f"person-{number}",
        "experiment": "v1",
        "assigned_arm": Arm.CANDIDATE,
    }
    return ScanFailed(
        **fields, code="provider-failed", message="no", requested_at=NOW, failed_at=NOW + timedelta(seconds=2)
    )


def confirmed(number: int, revision: int) -> ScanConfirmed:
    item = ConfirmedItem(label="egg", action=Action.KEPT if revision == 1 else Action.REMOVED)
    return ScanConfirmed(
        **scan_fields(number),
        **ROUTE,
        items=(item,),
        consent=False,
        revision=revision,
        confirmed_at=NOW + timedelta(seconds=revision),
    )


# ── checks ───────────────────────────────────────────────────────────────────


async def check_that_rebuilt_tables_are_equal(flywheel: InProcessFlywheel) -> None:
    before = await flywheel.end_offsets()
    for name in DEFINITIONS:
        outcome = await rebuilt(flywheel, name)
        assert outcome.equal, (name, [(table.table, table.differences) for table in outcome.tables if not table.equal])
        assert sum(table.live_rows for table in outcome.tables), f"{name} has something to compare"
        assert not list(flywheel.settings["gateway"].data_dir.glob("db/*_rebuilt*")), "the rebuilt tables are dropped"
    assert await flywheel.end_offsets() == before, "a rebuild publishes nothing"


async def check_that_damage_is_found_and_repaired(flywheel: InProcessFlywheel) -> None:
    sample_statements = (
        "DELETE FROM samples WHERE sha256 = (SELECT min(sha256) FROM samples)",
        "UPDATE sample_labels SET boxes = 99",
    )
    await damage_and_rebuild(
        flywheel, "gateway", *sample_statements, "UPDATE scans SET status = 'queued', result = NULL"
    )
    await damage_and_rebuild(flywheel, "vision", "DELETE FROM results")
    await damage_and_rebuild(
        flywheel,
        "collector",
        "UPDATE samples SET stored = NULL, state = 'stored', revision = 7",
        "DELETE FROM refusals",
        "UPDATE counts SET samples = 0",
    )
    await damage_and_rebuild(flywheel, "trainer", "DELETE FROM samples")
    await damage_and_rebuild(
        flywheel, "rollout", "UPDATE scans SET cost_usd = 9, kept = 0", "UPDATE subject_values SET value = 0.5"
    )
    await damage_and_rebuild(flywheel, "reasoning", "DELETE FROM suggestions")


async def damage_and_rebuild(flywheel: InProcessFlywheel, name: str, *statements: str) -> None:
    before, own = await flywheel.end_offsets(), await rows_without_topic(flywheel, name)
    async with flywheel.runtimes[name].database.session() as session:
        for statement in statements:
            await session.execute(text(statement))
    found = await rebuilt(flywheel, name)
    assert not found.equal, statements
    assert any(table.differing for table in found.tables)
    applied = await rebuilt(flywheel, name, apply=True)
    assert (applied.applied, applied.equal) == (True, False), "a comparison changes nothing"
    repaired = await rebuilt(flywheel, name)
    assert repaired.equal, (
        statements,
        [(table.table, table.differences) for table in repaired.tables if not table.equal],
    )
    assert await flywheel.end_offsets() == before, "nothing was published"
    assert await rows_without_topic(flywheel, name) == own


async def rows_without_topic(flywheel: InProcessFlywheel, name: str) -> dict[str, Any]:
    """Rows that no topic holds."""
    tables = {
        "gateway": ("subjects", "photo_owners", "confirmations", "scan_records"),
        "rollout": ("trial", "history"),
        "vision": ("spending",),
    }
    async with flywheel.runtimes[name].database.session(read_only=True) as session:
        return {
            table: [tuple(row) for row in await session.execute(text(f"SELECT * FROM {table}"))]
            for table in tables.get(name, ())
        }


async def rebuilt(flywheel: InProcessFlywheel, name: str, **how: Any) -> RebuildReport:
    return await rebuild(DEFINITIONS[name], flywheel.settings[name], comparisons=1, **how)


# ── Kafka's cleaner ─────────────────────────────────────────────────────────


def compact_quickly(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in QUICK_COMPACTION.items()
    ]
    changes = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, SCANS_CONFIRMED.name, incremental_configs=entries)]
    )
    for future in changes.values():
        future.result(10)


async def wait_for_compaction(flywheel: InProcessFlywheel) -> None:
    """Waits until Kafka's cleaner has deleted each earlier confirmation of a scan."""

    async def count_older_records() -> int:
        async with open_ordered_reader(flywheel.settings["gateway"], [SCANS_CONFIRMED]) as reader:
            keys = [record.key async for record in reader.read_until(await reader.ends()) if record.value is not None]
        return len(keys) - len(set(keys))

    assert await count_older_records() > 0
    await eventually(flywheel, count_older_records)


async def eventually(flywheel: InProcessFlywheel, count_older_records: Callable[[], Awaitable[int]]) -> None:
    deadline = time.monotonic() + 150
    publisher = flywheel.runtimes["gateway"].publisher
    while await count_older_records():
        assert time.monotonic() < deadline, "the log cleaner did not run in time"
        # A segment is closed only by a record after it.
        await publisher.send_all(
            [OutgoingRecord(SCANS_CONFIRMED.name, f"filler-{number}".encode(), None, []) for number in range(100)]
        )
        await asyncio.sleep(0.3)
