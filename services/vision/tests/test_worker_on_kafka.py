"""Vision's own handler on a real Kafka: many scans at once, a provider that is slow, hangs or is away, and replicas that come, go and die.

The figures that a run saw are printed: `pytest -rP services/vision/tests/test_worker_on_kafka.py`.
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
from savo_vision.app import CALL_SECONDS, PROVIDER_PLACES
from services.vision.tests.replicas import (
    ASKS_GOOGLE,
    ASKS_OURS,
    Answers,
    Desk,
    Google,
    Watch,
    custom_model,
    partitions_of_members,
    replica,
    replica_process,
    scan_id,
    vision_settings,
)

pytestmark = pytest.mark.kafka

USED = (SCANS_REQUESTED, SCANS_COMPLETED, SCANS_FAILED, SCANS_ERASED, SUBJECTS_ERASED)
WANTED_AT_ONCE = 64
PARTITIONS = SCANS_REQUESTED.partitions
OPENS_THE_BREAKER = 5 * 3
"""Five calls, each of three attempts."""


@dataclass(frozen=True)
class House:
    """All that vision's replicas meet, and nothing of the other services."""

    settings: RuntimeSettings
    bench: Bench
    desk: Desk
    google: Google
    answers: Answers
    model: Path

    def vision(self) -> AbstractAsyncContextManager[Watch]:
        return replica(vision_settings(self.settings, self.model, self.google))

    def process(self, key: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        """A replica that calls Google with a key of its own."""
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
async def house(kafka: str, tmp_path: Path) -> AsyncIterator[House]:
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka, data_dir=tmp_path)
    await clean_topics(settings, USED)
    async with AsyncExitStack() as stack:
        bench = await open_bench(settings, "kafka", stack)
        answers = Answers()
        await stack.enter_async_context(answers.followed(kafka))
        google = await stack.enter_async_context(serving(Google()))
        yield House(settings, bench, Desk(bench, settings), google, answers, custom_model(tmp_path))


@pytest.fixture
def house_on_postgres(house: House, postgres_url: str) -> House:
    """Where replicas share their tables, as in production."""
    return replace(house, settings=house.settings.model_copy(update={"database_url": SecretStr(postgres_url)}))


async def test_custom_scans_are_answered_while_sixty_four_calls_of_google_wait(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More scans wait for Google than any replica works on at once, and all of them came before the others."""
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 60.0)
    house.google.answers.clear()
    async with house.vision():
        theirs = await house.desk.request(range(90), ASKS_GOOGLE)
        await eventually(lambda: len(house.google.under_way) >= WANTED_AT_ONCE)
        ours = await house.desk.request(range(1000, 1030), ASKS_OURS)
        await eventually(lambda: house.answers.have(ours))
        waiting = len(house.google.under_way)
        assert waiting >= WANTED_AT_ONCE
        assert {answer.served_by for answer in house.answers.completed(ours)} == {ServedBy.CUSTOM}
        house.google.answers.set()
        await eventually(lambda: house.answers.have(theirs))
        await eventually(lambda: house.has_committed(len(ours) + len(theirs)))
    print(
        f"{len(ours)} custom scans were answered beside {waiting} waiting calls; at most {house.google.most_at_once} calls at once"
    )
    assert house.google.most_at_once <= PROVIDER_PLACES
    assert set(house.google.asked.values()) == {1}


async def test_while_google_is_away_our_own_model_goes_on_answering(house: House) -> None:
    house.google.is_away = True
    async with house.vision():
        theirs = await house.desk.request(range(2 * PROVIDER_PLACES), ASKS_GOOGLE)
        await eventually(lambda: house.google.refused >= OPENS_THE_BREAKER)
        ours = await house.desk.request(range(1000, 1040), ASKS_OURS)
        await eventually(lambda: house.answers.have(ours))
        assert not house.answers.have(theirs), "they wait until it is back"


class Deadlines:
    """Deadlines of calls that pass when the test says so, however slow the machine is."""

    def __init__(self) -> None:
        self.started: list[asyncio.Timeout] = []

    def __call__(self, seconds: float) -> asyncio.Timeout:
        self.started.append(asyncio.timeout(seconds))
        return self.started[-1]

    def pass_now(self) -> None:
        for deadline in self.started:
            with suppress(RuntimeError):  # its call has ended
                deadline.reschedule(asyncio.get_running_loop().time())


async def test_a_call_that_is_never_answered_holds_nobody_and_ends_at_its_deadline(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines = Deadlines()
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 600.0)
    monkeypatch.setattr(savo_vision.app, "Calls", partial(Calls, timer=deadlines))
    hung, after = 0, range(1, 40)
    house.google.hangs.add(hung)
    async with house.vision():
        (slow,) = await house.desk.request([hung], ASKS_GOOGLE, partitions=1)
        others = await house.desk.request(after, ASKS_GOOGLE, partitions=1)
        await eventually(lambda: house.answers.have(others))
        assert slow not in house.answers
        assert await house.committed() == 0, "nothing behind a scan that is not done is committed"
        deadlines.pass_now()
        await eventually(lambda: slow in house.answers)
        answer = house.answers.the(slow)
        await eventually(lambda: house.has_committed(1 + len(after)))
    assert isinstance(answer, ScanFailed)
    assert answer.code == FailureCode.PROVIDER_FAILED
    assert "gave no answer in 600 seconds" in answer.message


@pytest.mark.real
async def test_a_call_that_is_never_answered_is_given_up_after_its_seconds(house: House) -> None:
    house.google.hangs.add(0)
    async with house.vision():
        began = time.monotonic()
        (slow,) = await house.desk.request([0], ASKS_GOOGLE)
        await eventually(lambda: slow in house.answers, CALL_SECONDS + 60)
        seconds = time.monotonic() - began
    answer = house.answers.the(slow)
    assert isinstance(answer, ScanFailed)
    assert answer.code == FailureCode.PROVIDER_FAILED
    assert f"gave no answer in {CALL_SECONDS:g} seconds" in answer.message
    assert seconds >= CALL_SECONDS
    print(f"the hung call ended after {seconds:.1f} s")


async def test_scans_that_waited_too_long_behind_others_are_failed_unpaid(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savo_vision.app, "PROVIDER_PLACES", 4)
    house.google.answers.clear()
    late = range(100, 140)
    async with house.vision():
        first = await house.desk.request(range(4), ASKS_GOOGLE)
        await eventually(lambda: len(house.google.under_way) == len(first))
        expired = await house.desk.request(late, ASKS_GOOGLE, lives=0.2)
        ends = time.monotonic() + 0.2
        await eventually(lambda: time.monotonic() > ends)
        house.google.answers.set()
        await eventually(lambda: house.answers.have([*first, *expired]))
    for answer in map(house.answers.the, expired):
        assert isinstance(answer, ScanFailed)
        assert (answer.code, answer.cost_usd) == (FailureCode.EXPIRED, 0.0)
    assert not set(late) & set(house.google.asked)


@pytest.mark.real
@pytest.mark.slow
async def test_beside_sixty_four_waiting_calls_custom_scans_keep_the_cores_as_busy_as_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(savo_vision.app, "CALL_SECONDS", 120.0)
    house = replace(house, model=custom_model(house.settings.data_dir, side=1280))
    async with house.vision():
        await _share_of_cores(house, range(1000, 1020))
        alone = [await _share_of_cores(house, range(2000, 2080))]
        house.google.answers.clear()
        theirs = await house.desk.request(range(120), ASKS_GOOGLE)
        await eventually(lambda: len(house.google.under_way) >= WANTED_AT_ONCE)
        beside = await _share_of_cores(house, range(3000, 3080))
        waiting = len(house.google.under_way)
        house.google.answers.set()
        await eventually(lambda: house.answers.have(theirs))
        alone.append(await _share_of_cores(house, range(4000, 4080)))
    print(
        f"the engine had {alone[0]:.0%} of the cores' time alone, {beside:.0%} beside {waiting} waiting calls, {alone[1]:.0%} alone again"
    )
    assert waiting >= WANTED_AT_ONCE
    assert beside > 0.75 * min(alone)


async def _share_of_cores(house: House, numbers: range) -> float:
    """Of the time that these scans took, how much the engine's threads were at work."""
    scans = await house.desk.request(numbers, ASKS_OURS)
    await eventually(lambda: house.answers.have(scans))
    done = house.answers.completed(scans)
    span = max(answer.completed_at for answer in done) - min(
        answer.taken_up_at for answer in done if answer.taken_up_at
    )
    engine = sum(answer.stages_ms["decode"] + answer.stages_ms["detect"] for answer in done) / 1000
    return engine / span.total_seconds() / usable_cpus()


@pytest.mark.real
@pytest.mark.slow
async def test_what_waits_is_bounded_by_the_window_and_nothing_is_lost(house: House) -> None:
    """Two thousand scans on two partitions, and a provider that takes half a second."""
    house.google.seconds = 0.5
    scans = await house.desk.request(range(2000), ASKS_GOOGLE, partitions=2)
    began = time.monotonic()
    async with house.vision() as watch:
        await eventually(lambda: house.answers.have(scans), 200)
        seconds = time.monotonic() - began
        await eventually(lambda: house.has_committed(len(scans)))
    print(f"{len(scans)} scans in {seconds:.0f} s, at most {house.google.most_at_once} calls at once: {watch}")
    assert watch.held_of_one_partition <= MAX_UNCOMMITTED
    assert watch.uncommitted_of_one_partition <= MAX_UNCOMMITTED
    assert watch.held <= 2 * MAX_UNCOMMITTED
    assert min(watch.pauses, watch.resumes) >= 2, "it paused and went on"
    assert house.answers.repeats == 0
    assert set(house.google.asked.values()) == {1}


@pytest.mark.real
@pytest.mark.slow
async def test_a_graceful_stop_finishes_what_it_holds_and_the_next_process_repeats_nothing(house: House) -> None:
    house.google.seconds = 3.0
    async with house.process("first") as first:
        await eventually(lambda: house.members_have(PARTITIONS))
        scans = await house.desk.request(range(200), ASKS_GOOGLE)
        await eventually(lambda: len(house.google.under_way) >= WANTED_AT_ONCE)
        held = {number for _, number in house.google.under_way}
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(first.wait(), 25)
        seconds = time.monotonic() - began
    asked = sum(house.google.asked.values())
    assert code == 0
    assert held <= set(house.google.asked)
    await eventually(lambda: len(house.answers.by_scan) == asked)
    assert await house.committed() == asked
    async with house.process("second"):
        await eventually(lambda: house.answers.have(scans), 120)
        await eventually(lambda: house.has_committed(len(scans)))
    print(
        f"SIGTERM with {len(held)} calls in flight: exit {code} after {seconds:.1f} s, {asked} of {len(scans)} scans done and committed, 0 repeated"
    )
    assert house.answers.repeats == 0
    assert set(house.google.asked.values()) == {1}


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.postgres
async def test_a_replica_that_joins_costs_no_scan_a_second_call(house_on_postgres: House) -> None:
    house, google, enough = house_on_postgres, house_on_postgres.google, asyncio.Event()
    google.seconds = 1.5
    async with house.process("first"):
        await eventually(lambda: house.members_have(PARTITIONS))
        sending = asyncio.create_task(_request_until(house, enough))
        await eventually(lambda: len(google.under_way) > 30)
        async with house.process("second"):
            await eventually(lambda: house.members_have(PARTITIONS // 2, PARTITIONS // 2))
            moved_at = len(house.answers.by_scan)
            await eventually(lambda: len(google.asked_by["second"]) >= 40)
            enough.set()
            scans = await sending
            await eventually(lambda: house.answers.have(scans))
            await eventually(lambda: house.has_committed(len(scans)))
    print(f"a second replica had its partitions after {moved_at} of {len(scans)} scans and asked Google for {len(google.asked_by['second'])}; "
          f"{len(_asked_twice(google))} scans asked twice, {house.answers.repeats} answers published again")  # fmt: skip
    assert google.asked_by["second"]
    assert _asked_twice(google) == set()
    assert house.answers.repeats == 0


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.postgres
async def test_a_replica_that_is_killed_repeats_what_was_in_flight_and_no_finished_scan_is_paid_twice(
    house_on_postgres: House,
) -> None:
    """In six partitions one call hangs, so that the scans behind it are finished but not committed when their replica dies."""
    house, google = house_on_postgres, house_on_postgres.google
    google.seconds, google.hangs = 1.0, set(range(6))
    async with house.process("first"), house.process("second") as second:
        await eventually(lambda: house.members_have(PARTITIONS // 2, PARTITIONS // 2))
        scans = await house.desk.request(range(600), ASKS_GOOGLE)
        await eventually(lambda: len(house.answers.by_scan) >= 200 and _under_way(google, "second") > 20)
        finished, in_flight = set(house.answers.by_scan), _under_way(google, "second")
        second.kill()
        killed_at = time.monotonic()
        google.hangs.clear()
        await second.wait()
        await eventually(lambda: house.members_have(PARTITIONS))
        seconds = time.monotonic() - killed_at
        await eventually(lambda: house.answers.have(scans), 120)
        await eventually(lambda: house.has_committed(len(scans)))
    twice = _asked_twice(google)
    print(f"killed with {in_flight} calls in flight and {len(finished)} scans finished: {len(twice)} asked twice, none of them finished; "
          f"{house.answers.repeats} finished answers published again; partitions dealt out anew after {seconds:.1f} s")  # fmt: skip
    assert max(google.asked.values()) <= 2
    assert not {scan_id(number) for number in twice} & finished
    assert twice <= set(google.asked_by["second"])
    assert len(twice) <= PROVIDER_PLACES
    assert house.answers.repeats > 0, (
        "the finished ones behind a hung call came again, and were answered from the store"
    )


async def _request_until(house: House, enough: asyncio.Event) -> list[str]:
    """Forty scans a second."""
    scans: list[str] = []
    while not enough.is_set():
        scans += await house.desk.request(range(len(scans), len(scans) + 20), ASKS_GOOGLE)
        await asyncio.sleep(0.5)
    return scans


def _under_way(google: Google, key: str) -> int:
    return sum(asker == key for asker, _ in google.under_way)


def _asked_twice(google: Google) -> set[int]:
    return {number for number, calls in google.asked.items() if calls > 1}
