"""Vision on a real Kafka: concurrent scans, a slow, hanging or unavailable provider, and replicas that start and stop.

Tests print their figures: `pytest -rP services/vision/tests/test_worker_on_kafka.py`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

import savo_vision.app
from libs.providers.tests.wire import serving
from libs.runtime.tests.messaging.bench import Bench, clean_topics, eventually, open_bench
from savo_contracts.scans import FailureCode, ScanFailed, ServedBy
from savo_contracts.topics import SCANS_COMPLETED, SCANS_ERASED, SCANS_FAILED, SCANS_REQUESTED, SUBJECTS_ERASED
from savo_detection.engines.cpus import usable_cpus
from savo_providers.calls import Calls
from savo_runtime.messaging.consuming.parallel_consumer import MAX_UNCOMMITTED
from savo_runtime.settings import RuntimeSettings
from savo_vision.app import CALL_SECONDS, PROVIDER_SLOTS
from services.vision.tests.replicas import (
    ASKS_CUSTOM,
    ASKS_GOOGLE,
    FakeGateway,
    FakeGoogle,
    PublishedAnswers,
    WindowMonitor,
    custom_model,
    partitions_of_members,
    replica,
    replica_process,
    scan_id,
    vision_settings,
)

pytestmark = pytest.mark.kafka

USED = (SCANS_REQUESTED, SCANS_COMPLETED, SCANS_FAILED, SCANS_ERASED, SUBJECTS_ERASED)
CONCURRENT_CALLS = 64
PARTITIONS = SCANS_REQUESTED.partitions
CALLS_TO_OPEN_BREAKER = 5 * 3
"""Five calls with three attempts each."""


@dataclass(frozen=True)
class KafkaHarness:
    """Kafka, storage, a gateway and a provider for replicas of vision, without other services."""

    settings: RuntimeSettings
    bench: Bench
    gateway: FakeGateway
    google: FakeGoogle
    answers: PublishedAnswers
    model: Path

    def replica(self) -> AbstractAsyncContextManager[WindowMonitor]:
        return replica(vision_settings(self.settings, self.model, self.google))

    def process(self, key: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """A replica in its own process, with its own Google key."""
        return replica_process(
            vision_settings(self.settings, self.model, self.google, key=key), self.settings.data_dir / f"{key}.log"
        )

    async def committed(self) -> int:
        return await self.bench.committed("vision", SCANS_REQUESTED)

    async def has_committed(self, count: int) -> bool:
        return await self.committed() == count

    async def members_have(self, *partitions: int) -> bool:
        return await partitions_of_members(self.settings.kafka_bootstrap_servers) == list(partitions)


@pytest.fixture
async def harness(kafka: str, tmp_path: Path) -> AsyncIterator[KafkaHarness]:
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka, data_dir=tmp_path)
    await clean_topics(settings, USED)
    async with AsyncExitStack() as stack:
        bench = await open_bench(settings, "kafka", stack)
        answers = PublishedAnswers()
        await stack.enter_async_context(answers.collect(kafka))
        google = await stack.enter_async_context(serving(FakeGoogle()))
        yield KafkaHarness(settings, bench, FakeGateway(bench, settings), google, answers, custom_model(tmp_path))


@pytest.fixture
def harness_on_postgres(harness: KafkaHarness, postgres_url: str) -> KafkaHarness:
    """Replicas share their tables, as in production."""
    return replace(harness, settings=harness.settings.model_copy(update={"database_url": SecretStr(postgres_url)}))


async def test_custom_scans_are_answered_while_64_calls_of_google_wait(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scans that wait for Google came first, and are more than a replica processes concurrently."""
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 60.0)
    harness.google.may_answer.clear()
    async with harness.replica():
        google_scans = await harness.gateway.request(range(90), ASKS_GOOGLE)
        await eventually(lambda: len(harness.google.in_flight) >= CONCURRENT_CALLS)
        custom_scans = await harness.gateway.request(range(1000, 1030), ASKS_CUSTOM)
        await eventually(lambda: harness.answers.have(custom_scans))
        waiting = len(harness.google.in_flight)
        assert waiting >= CONCURRENT_CALLS
        assert {answer.served_by for answer in harness.answers.completed(custom_scans)} == {ServedBy.CUSTOM}
        harness.google.may_answer.set()
        await eventually(lambda: harness.answers.have(google_scans))
        await eventually(lambda: harness.has_committed(len(custom_scans) + len(google_scans)))
    print(
        f"{len(custom_scans)} custom scans were answered beside {waiting} waiting calls; "
        f"at most {harness.google.max_in_flight} concurrent calls"
    )
    assert harness.google.max_in_flight <= PROVIDER_SLOTS
    assert set(harness.google.calls.values()) == {1}


async def test_the_custom_model_answers_while_google_is_down(harness: KafkaHarness) -> None:
    harness.google.is_down = True
    async with harness.replica():
        google_scans = await harness.gateway.request(range(2 * PROVIDER_SLOTS), ASKS_GOOGLE)
        await eventually(lambda: harness.google.refused >= CALLS_TO_OPEN_BREAKER)
        custom_scans = await harness.gateway.request(range(1000, 1040), ASKS_CUSTOM)
        await eventually(lambda: harness.answers.have(custom_scans))
        assert not harness.answers.have(google_scans), "they wait until Google is up again"


class Deadlines:
    """Deadlines of calls that expire on demand, independent of the machine's speed."""

    def __init__(self) -> None:
        self.started: list[asyncio.Timeout] = []

    def __call__(self, seconds: float) -> asyncio.Timeout:
        self.started.append(asyncio.timeout(seconds))
        return self.started[-1]

    def expire(self) -> None:
        for deadline in self.started:
            with suppress(RuntimeError):  # raised after the call has ended
                deadline.reschedule(asyncio.get_running_loop().time())


async def test_a_hanging_call_blocks_no_other_scan_and_ends_at_its_deadline(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = Deadlines()
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 600.0)
    monkeypatch.setattr(savo_vision.app, "Calls", partial(Calls, timer=deadlines))
    hung, after = 0, range(1, 40)
    harness.google.hangs.add(hung)
    async with harness.replica():
        (slow,) = await harness.gateway.request([hung], ASKS_GOOGLE, partitions=1)
        others = await harness.gateway.request(after, ASKS_GOOGLE, partitions=1)
        await eventually(lambda: harness.answers.have(others))
        assert slow not in harness.answers
        assert await harness.committed() == 0, "no offset after an unfinished scan is committed"
        deadlines.expire()
        await eventually(lambda: slow in harness.answers)
        answer = harness.answers.answer_of(slow)
        await eventually(lambda: harness.has_committed(1 + len(after)))
    assert isinstance(answer, ScanFailed)
    assert answer.code == FailureCode.PROVIDER_FAILED
    assert "gave no answer in 600 seconds" in answer.message


@pytest.mark.real
async def test_a_hanging_call_ends_after_its_seconds(harness: KafkaHarness) -> None:
    harness.google.hangs.add(0)
    async with harness.replica():
        began = time.monotonic()
        (slow,) = await harness.gateway.request([0], ASKS_GOOGLE)
        await eventually(lambda: slow in harness.answers, CALL_SECONDS + 60)
        seconds = time.monotonic() - began
    answer = harness.answers.answer_of(slow)
    assert isinstance(answer, ScanFailed)
    assert answer.code == FailureCode.PROVIDER_FAILED
    assert f"gave no answer in {CALL_SECONDS:g} seconds" in answer.message
    assert seconds >= CALL_SECONDS
    print(f"the hung call ended after {seconds:.1f} s")


async def test_scans_that_expire_behind_others_fail_unpaid(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savo_vision.app, "PROVIDER_SLOTS", 4)
    harness.google.may_answer.clear()
    late = range(100, 140)
    async with harness.replica():
        first = await harness.gateway.request(range(4), ASKS_GOOGLE)
        await eventually(lambda: len(harness.google.in_flight) == len(first))
        expired = await harness.gateway.request(late, ASKS_GOOGLE, expires_in=0.2)
        ends = time.monotonic() + 0.2
        await eventually(lambda: time.monotonic() > ends)
        harness.google.may_answer.set()
        await eventually(lambda: harness.answers.have([*first, *expired]))
    for answer in map(harness.answers.answer_of, expired):
        assert isinstance(answer, ScanFailed)
        assert (answer.code, answer.cost_usd) == (FailureCode.EXPIRED, 0.0)
    assert not set(late) & set(harness.google.calls)


@pytest.mark.real
@pytest.mark.slow
async def test_custom_scans_use_the_cores_as_well_beside_64_waiting_calls(
    harness: KafkaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 120.0)
    harness = replace(harness, model=custom_model(harness.settings.data_dir, side=1280))
    async with harness.replica():
        await _share_of_cores(harness, range(1000, 1020))
        alone = [await _share_of_cores(harness, range(2000, 2080))]
        harness.google.may_answer.clear()
        google_scans = await harness.gateway.request(range(120), ASKS_GOOGLE)
        await eventually(lambda: len(harness.google.in_flight) >= CONCURRENT_CALLS)
        beside = await _share_of_cores(harness, range(3000, 3080))
        waiting = len(harness.google.in_flight)
        harness.google.may_answer.set()
        await eventually(lambda: harness.answers.have(google_scans))
        alone.append(await _share_of_cores(harness, range(4000, 4080)))
    print(
        f"the engine used {alone[0]:.0%} of the cores' time alone, {beside:.0%} beside {waiting} waiting calls, "
        f"{alone[1]:.0%} alone again"
    )
    assert waiting >= CONCURRENT_CALLS
    assert beside > 0.75 * min(alone)


async def _share_of_cores(harness: KafkaHarness, numbers: range) -> float:
    """Share of the cores' time that the engine used while these scans ran."""
    scans = await harness.gateway.request(numbers, ASKS_CUSTOM)
    await eventually(lambda: harness.answers.have(scans))
    done = harness.answers.completed(scans)
    span = max(answer.completed_at for answer in done) - min(
        answer.taken_up_at for answer in done if answer.taken_up_at
    )
    engine = sum(answer.stages_ms["decode"] + answer.stages_ms["detect"] for answer in done) / 1000
    return engine / span.total_seconds() / usable_cpus()


@pytest.mark.real
@pytest.mark.slow
async def test_pending_records_are_bounded_and_none_is_lost(harness: KafkaHarness) -> None:
    """2,000 scans on two partitions, with a provider that takes half a second."""
    harness.google.seconds = 0.5
    scans = await harness.gateway.request(range(2000), ASKS_GOOGLE, partitions=2)
    began = time.monotonic()
    async with harness.replica() as watch:
        await eventually(lambda: harness.answers.have(scans), 200)
        seconds = time.monotonic() - began
        await eventually(lambda: harness.has_committed(len(scans)))
    print(f"{len(scans)} scans in {seconds:.0f} s, at most {harness.google.max_in_flight} calls at once: {watch}")
    assert watch.held_of_one_partition <= MAX_UNCOMMITTED
    assert watch.uncommitted_of_one_partition <= MAX_UNCOMMITTED
    assert watch.held <= 2 * MAX_UNCOMMITTED
    assert min(watch.pauses, watch.resumes) >= 2, "each partition paused and resumed"
    assert harness.answers.repeats == 0
    assert set(harness.google.calls.values()) == {1}


@pytest.mark.real
@pytest.mark.slow
async def test_a_graceful_stop_finishes_scans_in_progress_and_repeats_none(harness: KafkaHarness) -> None:
    harness.google.seconds = 3.0
    async with harness.process("first") as first:
        await eventually(lambda: harness.members_have(PARTITIONS))
        scans = await harness.gateway.request(range(200), ASKS_GOOGLE)
        await eventually(lambda: len(harness.google.in_flight) >= CONCURRENT_CALLS)
        held = {number for _, number in harness.google.in_flight}
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(first.wait(), 25)
        seconds = time.monotonic() - began
    calls = sum(harness.google.calls.values())
    assert code == 0
    assert held <= set(harness.google.calls)
    await eventually(lambda: len(harness.answers.by_scan) == calls)
    assert await harness.committed() == calls
    async with harness.process("second"):
        await eventually(lambda: harness.answers.have(scans), 120)
        await eventually(lambda: harness.has_committed(len(scans)))
    print(
        f"SIGTERM with {len(held)} calls in flight: exit {code} after {seconds:.1f} s, "
        f"{calls} of {len(scans)} scans done and committed, 0 repeated"
    )
    assert harness.answers.repeats == 0
    assert set(harness.google.calls.values()) == {1}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.postgres
async def test_a_new_replica_causes_no_second_call_for_a_scan(harness_on_postgres: KafkaHarness) -> None:
    harness, google, enough = harness_on_postgres, harness_on_postgres.google, asyncio.Event()
    google.seconds = 1.5
    async with harness.process("first"):
        await eventually(lambda: harness.members_have(PARTITIONS))
        sending = asyncio.create_task(_request_until(harness, enough))
        await eventually(lambda: len(google.in_flight) > 30)
        async with harness.process("second"):
            await eventually(lambda: harness.members_have(PARTITIONS // 2, PARTITIONS // 2))
            moved_at = len(harness.answers.by_scan)
            await eventually(lambda: len(google.calls_by_key["second"]) >= 40)
            enough.set()
            scans = await sending
            await eventually(lambda: harness.answers.have(scans))
            await eventually(lambda: harness.has_committed(len(scans)))
    print(
        f"a second replica had its partitions after {moved_at} of {len(scans)} scans and made "
        f"{len(google.calls_by_key['second'])} calls; {len(_called_twice(google))} scans called twice, "
        f"{harness.answers.repeats} answers published again"
    )
    assert google.calls_by_key["second"]
    assert _called_twice(google) == set()
    assert harness.answers.repeats == 0


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.postgres
async def test_after_a_kill_calls_in_flight_repeat_but_finished_scans_are_not_paid_twice(
    harness_on_postgres: KafkaHarness,
) -> None:
    """One call hangs in each of six partitions, so scans after it are finished but not committed at the kill."""
    harness, google = harness_on_postgres, harness_on_postgres.google
    google.seconds, google.hangs = 1.0, set(range(6))
    async with harness.process("first"), harness.process("second") as second:
        await eventually(lambda: harness.members_have(PARTITIONS // 2, PARTITIONS // 2))
        scans = await harness.gateway.request(range(600), ASKS_GOOGLE)
        await eventually(lambda: len(harness.answers.by_scan) >= 200 and _in_flight(google, "second") > 20)
        finished, in_flight = set(harness.answers.by_scan), _in_flight(google, "second")
        second.kill()
        killed_at = time.monotonic()
        google.hangs.clear()
        await second.wait()
        await eventually(lambda: harness.members_have(PARTITIONS))
        seconds = time.monotonic() - killed_at
        await eventually(lambda: harness.answers.have(scans), 120)
        await eventually(lambda: harness.has_committed(len(scans)))
    repeated = _called_twice(google)
    print(
        f"killed with {in_flight} calls in flight and {len(finished)} scans finished: {len(repeated)} called twice, "
        f"none of them finished; {harness.answers.repeats} finished answers published again; "
        f"partitions reassigned after {seconds:.1f} s"
    )
    assert max(google.calls.values()) <= 2
    assert not {scan_id(number) for number in repeated} & finished
    assert repeated <= set(google.calls_by_key["second"])
    assert len(repeated) <= PROVIDER_SLOTS
    assert harness.answers.repeats > 0, (
        "finished scans after a hanging call were consumed again and answered from the database"
    )


async def _request_until(harness: KafkaHarness, enough: asyncio.Event) -> list[str]:
    """Request forty scans a second."""
    scans: list[str] = []
    while not enough.is_set():
        scans += await harness.gateway.request(range(len(scans), len(scans) + 20), ASKS_GOOGLE)
        await asyncio.sleep(0.5)
    return scans


def _in_flight(google: FakeGoogle, key: str) -> int:
    return sum(caller == key for caller, _ in google.in_flight)


def _called_twice(google: FakeGoogle) -> set[int]:
    return {number for number, calls in google.calls.items() if calls > 1}
