"""What a service keeps from topics, built anew from them, is what it kept: by a hash of its rows, on Kafka with compaction run and embedded."""

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
from tests.rebuild.in_process_flywheel import DEFINITIONS, InProcessFlywheel, running

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
async def test_on_kafka_with_compaction_run_and_postgresql_every_projection_is_rebuilt_equal_and_mended(
    own_kafka: RealKafka, postgres_url: str, tmp_path: Path
) -> None:
    async with running(tmp_path, own_kafka.bootstrap_servers, embedded=False, database_url=postgres_url) as wheel:
        compact_quickly(own_kafka.bootstrap_servers)
        await a_week_of_kitchens(wheel)
        await compacted(wheel)
        await every_projection_is_equal(wheel)
        await damage_is_found_and_mended(wheel)


@pytest.mark.slow(20)
async def test_on_the_embedded_broker_every_projection_is_rebuilt_equal_and_mended(
    embedded_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async with running(tmp_path, embedded_broker.bootstrap_servers, embedded=True) as wheel:
        await a_week_of_kitchens(wheel)
        await every_projection_is_equal(wheel)
        await damage_is_found_and_mended(wheel)


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_a_projection_folds_the_topics_that_its_tables_name(name: str, tmp_path: Path) -> None:
    projection = DEFINITIONS[name].projection
    assert projection is not None
    runtime: Any = type("Nothing", (), {"database": None, "outbox": None, "store": None, "clock": None})
    folded = {one.topic.name for one in projection.fold(projection.settings(data_dir=tmp_path), runtime).subscriptions}
    assert folded == {topic.name for topic in projection.topics}


# ── the story ───────────────────────────────────────────────────────────────


async def a_week_of_kitchens(wheel: InProcessFlywheel) -> None:
    """Answers and a failure, corrections of corrections, consent taken back, erasures, a refused photo, a call for training, a trial."""
    scans = [await scan(wheel, seed, user=f"user-{seed % 4}") for seed in range(1, 9)]
    await wheel.turn()
    for scan_id in scans[:6]:
        await confirm(wheel, scan_id, {"all_correct": True})
    await wheel.turn()
    await confirm(wheel, scans[0], {"items": [{"label": "milk", "from_label": "egg", "action": "renamed"}]})
    await confirm(
        wheel, scans[1], {"items": [{"label": "egg", "action": "removed"}]}
    )  # nothing to learn from: withdrawn
    await confirm(
        wheel, scans[6], {"items": [{"label": "egg", "action": "kept"}, {"label": "zorblax", "action": "added"}]}
    )  # no box: waits
    await wheel.turn()
    await confirm(wheel, scans[0], {"items": [{"label": "tomato", "from_label": "egg", "action": "renamed"}]})
    twin = await scan(wheel, 5, user="user-9")  # the same bytes as another's sample
    await wheel.turn()
    await confirm(wheel, twin, {"all_correct": True})
    wheel.provider.error = ProviderAnswerError("google", "gave an answer that is not complete JSON")
    await scan(wheel, 20, user="user-5")
    await wheel.turn()
    await erase(wheel, scans[2], scans[3])
    await a_trial(wheel)
    await wheel.turn()


async def scan(wheel: InProcessFlywheel, seed: int, *, user: str) -> str:
    picture = photo(256, 192, seed=seed, quality=95)
    answer = await wheel.http.post("/v1/scans", files={"image": ("p.jpg", picture)}, data={"user_id": user})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["scan_id"])


async def confirm(wheel: InProcessFlywheel, scan_id: str, word: dict[str, Any]) -> None:
    answer = await wheel.http.post(f"/v1/scans/{scan_id}/confirmation", json=word)
    assert answer.status_code == 202, answer.text


async def erase(wheel: InProcessFlywheel, scan_id: str, other: str) -> None:
    now = datetime.now(UTC)
    async with wheel.runtimes["gateway"].database.session(read_only=True) as session:
        subjects = {
            row.scan_id: row.subject for row in await session.execute(text("SELECT scan_id, subject FROM scans"))
        }
    await wheel.publish("gateway", ScanErased(scan_id=scan_id, subject=subjects[scan_id], erased_at=now))
    await wheel.publish("gateway", SubjectErased(subject=subjects[other], erased_at=now))
    await wheel.publish(
        "gateway",
        RecipesRequested(
            recipe_id="r1", scan_id="s", subject="x", ingredients=("egg",), requested_at=now, expires_at=now
        ),
    )


async def a_trial(wheel: InProcessFlywheel) -> None:
    """Evidence for v1 from twelve people; some scan twice, one scan fails, some correct themselves."""
    await wheel.publish("trainer", registered())
    await wheel.turn()
    for number in range(16):
        ends: list[Finished] = [answered(number), *([failed(number)] if number == 7 else [])]
        for end in ends:
            await StoredResults(wheel.runtimes["vision"].database).save(end)
            await wheel.publish("vision", end)
        await wheel.publish(
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


def whose(number: int) -> dict[str, Any]:
    image = ImageRef(key=f"scans/aa/{number:064x}.jpg", sha256=f"{number:064x}", bytes=10, width=10, height=10)
    return {"scan_id": f"trial-{number}", "subject": f"person-{number % 12}", "image": image}


def answered(number: int) -> ScanCompleted:
    figures = {"items": (), "scan_confidence": 0.9, "duration_ms": 900.0 + 10 * number, "cost_usd": 0.001 * number}
    return ScanCompleted(**whose(number), **ROUTE, **figures, requested_at=NOW, completed_at=NOW + timedelta(seconds=1))


def failed(number: int) -> ScanFailed:
    told = {"scan_id": "trial-failed", "subject": f"person-{number}", "experiment": "v1", "assigned_arm": Arm.CANDIDATE}
    return ScanFailed(
        **told, code="provider-failed", message="no", requested_at=NOW, failed_at=NOW + timedelta(seconds=2)
    )


def confirmed(number: int, revision: int) -> ScanConfirmed:
    item = ConfirmedItem(label="egg", action=Action.KEPT if revision == 1 else Action.REMOVED)
    return ScanConfirmed(
        **whose(number),
        **ROUTE,
        items=(item,),
        consent=False,
        revision=revision,
        confirmed_at=NOW + timedelta(seconds=revision),
    )


# ── what must hold ──────────────────────────────────────────────────────────


async def every_projection_is_equal(wheel: InProcessFlywheel) -> None:
    before = await wheel.ends()
    for name in DEFINITIONS:
        outcome = await rebuilt(wheel, name)
        assert outcome.equal, (name, [(table.table, table.differences) for table in outcome.tables if not table.equal])
        assert sum(table.live_rows for table in outcome.tables), f"{name} has something to compare"
        assert not list(wheel.settings["gateway"].data_dir.glob("db/*_rebuilt*")), "the fresh tables are gone"
    assert await wheel.ends() == before, "a rebuild publishes nothing"


async def damage_is_found_and_mended(wheel: InProcessFlywheel) -> None:
    of_samples = (
        "DELETE FROM samples WHERE sha256 = (SELECT min(sha256) FROM samples)",
        "UPDATE sample_labels SET boxes = 99",
    )
    await damaged(wheel, "gateway", *of_samples, "UPDATE scans SET status = 'queued', result = NULL")
    await damaged(wheel, "vision", "DELETE FROM results")
    await damaged(
        wheel,
        "collector",
        "UPDATE samples SET stored = NULL, state = 'stored', revision = 7",
        "DELETE FROM refusals",
        "UPDATE counts SET samples = 0",
    )
    await damaged(wheel, "trainer", "DELETE FROM samples")
    await damaged(wheel, "rollout", "UPDATE scans SET cost_usd = 9, kept = 0", "UPDATE subject_values SET value = 0.5")
    await damaged(wheel, "reasoning", "DELETE FROM suggestions")


async def damaged(wheel: InProcessFlywheel, name: str, *statements: str) -> None:
    before, own = await wheel.ends(), await left_alone(wheel, name)
    async with wheel.runtimes[name].database.session() as session:
        for statement in statements:
            await session.execute(text(statement))
    found = await rebuilt(wheel, name)
    assert not found.equal, statements
    assert any(table.differing for table in found.tables)
    applied = await rebuilt(wheel, name, apply=True)
    assert (applied.applied, applied.equal) == (True, False), "looking had mended nothing"
    mended = await rebuilt(wheel, name)
    assert mended.equal, (statements, [(table.table, table.differences) for table in mended.tables if not table.equal])
    assert await wheel.ends() == before, "nothing was published"
    assert await left_alone(wheel, name) == own


async def left_alone(wheel: InProcessFlywheel, name: str) -> dict[str, Any]:
    """Rows of what stands in this database alone."""
    tables = {
        "gateway": ("subjects", "photo_owners", "confirmations", "scan_records"),
        "rollout": ("trial", "history"),
        "vision": ("spending",),
    }
    async with wheel.runtimes[name].database.session(read_only=True) as session:
        return {
            table: [tuple(row) for row in await session.execute(text(f"SELECT * FROM {table}"))]
            for table in tables.get(name, ())
        }


async def rebuilt(wheel: InProcessFlywheel, name: str, **how: Any) -> RebuildReport:
    return await rebuild(DEFINITIONS[name], wheel.settings[name], comparisons=1, **how)


# ── Kafka's cleaner ─────────────────────────────────────────────────────────


def compact_quickly(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in QUICK_COMPACTION.items()
    ]
    asked = admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, SCANS_CONFIRMED.name, incremental_configs=entries)]
    )
    for future in asked.values():
        future.result(10)


async def compacted(wheel: InProcessFlywheel) -> None:
    """Until Kafka's cleaner has taken out each earlier confirmation of a scan."""

    async def earlier_ones() -> int:
        async with open_ordered_reader(wheel.settings["gateway"], [SCANS_CONFIRMED]) as reader:
            keys = [record.key async for record in reader.read_until(await reader.ends()) if record.value is not None]
        return len(keys) - len(set(keys))

    assert await earlier_ones() > 0
    await eventually(wheel, earlier_ones)


async def eventually(wheel: InProcessFlywheel, earlier_ones: Callable[[], Awaitable[int]]) -> None:
    deadline = time.monotonic() + 150
    publisher = wheel.runtimes["gateway"].publisher
    while await earlier_ones():
        assert time.monotonic() < deadline, "the cleaner did not come"
        # A segment is closed by the record after it.
        await publisher.send_all(
            [OutgoingRecord(SCANS_CONFIRMED.name, f"filler-{number}".encode(), None, []) for number in range(100)]
        )
        await asyncio.sleep(0.3)
