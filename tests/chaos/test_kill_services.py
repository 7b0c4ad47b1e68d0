"""Chaos test: no scan and no sample is lost while the services are killed at random times."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.consumer import AIOKafkaConsumer

from savo_contracts.topics import SERVICES, TOPICS
from savo_demo.corrections import corrections
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import _answered
from savo_runtime.messaging.kafka.client_arguments import group_of
from tests.parts.kafka import RealKafka
from tests.parts.wheel import Wheel, objects_under, read_json, running_wheel

SCANS = 200
KILLS_EACH = 3
CONCURRENT_PHONES = 12
# Each replica reads the whole topic without a group, so these readers have no lag.
SNAPSHOT_READERS = {"rollout.changed": {"vision", "gateway"}}
LAG_GONE_WITHIN = 60.0
SCAN_ENDS_WITHIN = 200.0

pytestmark = [pytest.mark.real, pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Ledger:
    """Outcomes of the scans as the phones saw them."""

    ended: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    confirmed: int = 0
    scan_ids: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        return sum(self.ended.values())


async def test_no_scan_and_no_sample_is_lost_or_doubled_when_services_are_killed(
    own_kafka: RealKafka, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SAVO_CHAOS_SEED", random.SystemRandom().randrange(10_000)))
    print(f"seed {seed} (SAVO_CHAOS_SEED)")
    scenes = list(draw_scenes(SCANS, seed=seed))
    write_scenes(tmp_path / "truth", scenes)
    settings = {"SAVO_ROLLOUT_MIN_CONFIRMED": "100000"}
    with running_wheel(
        tmp_path / "savo", tmp_path / "truth", settings, "--kafka", own_kafka.bootstrap_servers
    ) as wheel:
        ledger = Ledger()
        kills = asyncio.create_task(kill_at_random_moments(wheel, ledger, random.Random(seed)))
        await scan_and_confirm(wheel, scenes, ledger)
        assert await kills == dict.fromkeys(SERVICES, KILLS_EACH)
        lag = await lag_after(own_kafka.bootstrap_servers, LAG_GONE_WITHIN)
        assert lag == {}, f"records left after {LAG_GONE_WITHIN:g} s: {lag}"
        assert ledger.done == len(ledger.scan_ids) == SCANS, ledger
        assert ledger.ended["completed"] + sum(ledger.reasons.values()) == SCANS, ledger
        await assert_one_sample_a_photo(wheel, ledger)
        print(f"{dict(ledger.ended)}, reasons {dict(ledger.reasons)}, {ledger.confirmed} confirmed")


async def scan_and_confirm(wheel: Wheel, scenes: list[Scene], ledger: Ledger) -> None:
    remaining = iter(enumerate(scenes))

    async def phone(client: httpx2.AsyncClient) -> None:
        for number, scene in remaining:
            await one_scan(client, number, scene, ledger)

    async with (
        httpx2.AsyncClient(base_url=wheel.url, timeout=30, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(CONCURRENT_PHONES):
            group.create_task(phone(client))


async def one_scan(client: httpx2.AsyncClient, number: int, scene: Scene, ledger: Ledger) -> None:
    """Uploads, polls and confirms one scan as an app does.

    Each request is repeated until it is answered, the upload with the same Idempotency-Key.
    """
    headers = {"Idempotency-Key": f"errand-{number}"}
    files = {"image": ("photo.jpg", scene.jpeg, "image/jpeg")}
    data = {"user_id": f"user-{number % 60}"}
    scan = (await request_until_answered(client, "POST", "/v1/scans", headers=headers, files=files, data=data)).json()
    ledger.scan_ids.add(scan["scan_id"])
    deadline = time.monotonic() + SCAN_ENDS_WITHIN
    while scan["status"] == "queued":
        assert time.monotonic() < deadline, f"scan {scan['scan_id']} did not finish in {SCAN_ENDS_WITHIN:g} s"
        await asyncio.sleep(0.2)
        scan = (await request_until_answered(client, "GET", f"/v1/scans/{scan['scan_id']}")).json()
    ledger.ended[scan["status"]] += 1
    if scan["status"] == "failed":
        ledger.reasons[scan["error"]["code"]] += 1
        return
    edits = corrections([_answered(item) for item in scan["result"]["items"]], scene.truth)
    body: dict[str, Any] = {"items": [edit.as_json() for edit in edits]}
    await request_until_answered(client, "POST", f"/v1/scans/{scan['scan_id']}/confirmation", json=body)
    ledger.confirmed += 1


async def request_until_answered(client: httpx2.AsyncClient, method: str, path: str, **rest: Any) -> httpx2.Response:
    for _ in range(600):
        try:
            answer = await client.request(method, path, **rest)
        except httpx2.HTTPError:
            await asyncio.sleep(0.2)
            continue
        if answer.status_code < 300:
            return answer
        assert answer.status_code in {409, 429, 503}, f"{method} {path} → {answer.status_code} {answer.text}"
        await asyncio.sleep(0.2)
    raise AssertionError(f"{method} {path} was never answered")


async def kill_at_random_moments(wheel: Wheel, ledger: Ledger, draw: random.Random) -> dict[str, int]:
    """Kills each service three times, when the count of finished scans reaches a random number."""
    moments = sorted((draw.randrange(5, SCANS - 20), service) for service in SERVICES for _ in range(KILLS_EACH))
    killed = Counter[str]()
    for moment, service in moments:
        await until(lambda moment=moment: ledger.done >= moment)  # type: ignore[misc]
        await asyncio.sleep(draw.uniform(0, 0.4))
        await until(lambda service=service: wheel.kill(service))  # type: ignore[misc]
        killed[service] += 1
    return dict(killed)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


async def lag_after(bootstrap_servers: str, seconds: float) -> dict[str, int]:
    """Lag by topic and group after it is zero everywhere, or after `seconds`."""
    deadline = time.monotonic() + seconds
    samples: list[dict[str, int]] = []
    # Zero twice in a row: between two samples a service may publish the result of its last record.
    while samples[-2:] != [{}, {}] and time.monotonic() < deadline:
        samples.append(await current_lag(bootstrap_servers))
        await asyncio.sleep(1)
    return samples[-1]


async def current_lag(bootstrap_servers: str) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await consumer.start()
    try:
        lag: dict[str, int] = {}
        for topic in TOPICS:
            # From the registry: a topic whose partitions this consumer does not know yet would have no lag.
            partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
            ends = await consumer.end_offsets(partitions)
            for service in set(topic.consumers) - SNAPSHOT_READERS.get(topic.name, set()):
                committed = await admin.list_consumer_group_offsets(group_of(service, topic.name))
                behind = sum(
                    end - max(0, committed[partition].offset if partition in committed else 0)
                    for partition, end in ends.items()
                )
                if behind:
                    lag[f"{topic.name}/{service}"] = behind
        return lag
    finally:
        await consumer.stop()
        await admin.close()


async def assert_one_sample_a_photo(wheel: Wheel, ledger: Ledger) -> None:
    """Images, metadata and the gateway's figures agree, and each confirmed scan is one sample or one refusal."""
    images = [path.stem for path in objects_under(wheel.data_dir, "samples/images")]
    metas = [read_json(path) for path in objects_under(wheel.data_dir, "samples/meta")]
    assert len(images) == len(set(images)) == len(metas)
    assert {meta["sha256"] for meta in metas} == set(images)
    assert len({meta["scan_id"] for meta in metas}) == len(metas)
    async with httpx2.AsyncClient(base_url=wheel.url, timeout=30, trust_env=False) as client:
        stats = (await request_until_answered(client, "GET", "/training/stats")).json()
        progress = (await request_until_answered(client, "GET", "/training/progress")).json()
    assert stats["total_samples"] == len(metas)
    assert len(metas) + sum(progress["refused_by_reason"].values()) == ledger.confirmed, (
        len(metas),
        progress["refused_by_reason"],
        ledger.confirmed,
    )
