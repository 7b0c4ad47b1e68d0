"""Replay into the original topics of a running product, two of them twice: it changes nothing and costs nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from savo_demo.simulated_users import SimulatedUsers, Upload, new_client
from savo_runtime.messaging.kafka.lag import GroupReader
from savo_runtime.settings import RuntimeSettings
from tests.parts.wheel import Wheel, objects_under, read_json, running_wheel

TOPICS = ("scans.requested", "scans.completed", "scans.failed", "scans.confirmed", "samples.stored", "samples.rejected")
IDLE_WITHIN = 200.0
SCANS = 8

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]


async def test_a_replay_into_the_original_changes_nothing_and_costs_nothing(tmp_path: Path) -> None:
    scenes = list(draw_scenes(SCANS, seed=17))
    write_scenes(tmp_path / "truth", scenes)
    settings = {"SAVO_RATE_LIMIT_PER_MINUTE": "0", "SAVO_USE_CUSTOM_VISION": "false"}
    with running_wheel(tmp_path / "savo", tmp_path / "truth", settings, latency_scale=0.02) as wheel:
        async with new_client(wheel.url) as client:
            simulated_users = SimulatedUsers(client, random.Random(5), at_once=4)
            for number, scene in enumerate(scenes):
                await simulated_users.scan_and_confirm(Upload(f"user-{number}", scene.jpeg, scene.truth))
        await wait_until_idle(wheel)
        before = state(wheel)
        assert all(before[table] for table in ("vision.results", "vision.spending", "collector.samples")), before.keys()
        for topic in (*TOPICS, "scans.requested", "scans.confirmed"):
            replay(wheel, topic)
        await wait_until_idle(wheel)
        assert state(wheel) == before


def replay(wheel: Wheel, topic: str) -> None:
    command = [sys.executable, "-m", "savo_cli", "replay", "--topic", topic, "--into", "original", "--json"]
    done = subprocess.run(command, env=_environment(wheel), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sent"] > 0 or topic in ("scans.failed", "samples.rejected"), done.stdout


async def wait_until_idle(wheel: Wheel) -> None:
    """Wait until no group has lag and no outbox has events, several times in a row: a record may lead to another."""
    address = read_json(wheel.data_dir / "run" / "up.json")["kafka"]
    reader = GroupReader(RuntimeSettings(kafka_bootstrap_servers=address, embedded_broker=True))
    await reader.start()
    try:
        deadline, idle_checks = time.monotonic() + IDLE_WITHIN, 0
        while idle_checks < 4:
            assert time.monotonic() < deadline, [place for place in await reader.positions() if place.lag]
            busy = any(place.lag for place in await reader.positions()) or unpublished(wheel)
            idle_checks = 0 if busy else idle_checks + 1
            await asyncio.sleep(0.4)
    finally:
        await reader.stop()


def unpublished(wheel: Wheel) -> int:
    """Number of events in outboxes."""
    count = 0
    for path in (wheel.data_dir / "db").glob("*.sqlite3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            count += database.execute("SELECT count(*) FROM outbox").fetchone()[0]
    return count


def state(wheel: Wheel) -> dict[str, list[Any]]:
    """Every row of every table, and every object by its hash.

    Without the audit log, which records the replays themselves, and without Kafka positions.
    """
    found: dict[str, list[Any]] = {}
    for path in sorted((wheel.data_dir / "db").glob("*.sqlite3")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                if table not in _OTHER_TABLES:
                    rows = database.execute(f'SELECT {_columns(database, table)} FROM "{table}"')
                    found[f"{path.stem}.{table}"] = sorted(map(repr, rows))
    found["objects"] = [
        (str(each), hashlib.sha256(each.read_bytes()).hexdigest()) for each in objects_under(wheel.data_dir, "samples")
    ]
    return found


_OTHER_TABLES = frozenset(
    {"outbox", "processed_events", "audit_log", "audit", "sqlite_sequence", "leases", "scan_records"}
)
_LOCK = "changes"
"""Counted up by every transaction that locks a scan, also by one that changes nothing."""


def _columns(database: sqlite3.Connection, table: str) -> str:
    names = [name for _, name, *_ in database.execute(f'PRAGMA table_info("{table}")')]
    return ", ".join(f'"{name}"' for name in names if name != _LOCK)


def _environment(wheel: Wheel) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "SAVO_DATA_DIR": str(wheel.data_dir), "HOME": str(wheel.data_dir)}
