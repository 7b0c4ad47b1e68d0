"""A topic's records once more: bounded, in order, each once however often it is interrupted, and marked_headers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.operations.tests.replay.conftest import Stage
from libs.runtime.tests.messaging.bench import NOON, eventually, recipes_requested, recipes_suggested
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.topics import AUDIT_RECORDED, RECIPES_REQUESTED, RECIPES_SUGGESTED, ROLLOUT_CHANGED, SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_operations.replay.progress import AlreadyRunningError, exclusive_lock
from savo_operations.replay.replay import preview_replay
from savo_operations.replay.requests import RefusedRequestError
from savo_operations.replay.selection import Selection, parse_condition
from savo_runtime.messaging.consuming.consumers import Consumers
from savo_runtime.messaging.consuming.subscriptions import bind, consumes, publishes
from savo_runtime.messaging.publishing.publisher import Publisher


def ids(records: list[Any]) -> list[str]:
    return [json.loads(record.value)["recipe_id"] for record in records]


def headers(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


async def publish(stage: Stage, count: int) -> None:
    for number in range(count):
        await stage.bench.publish(recipes_requested(number), partition=number % 4)


async def test_records_go_into_the_sandbox_in_order_marked_and_otherwise_as_they_were(stage: Stage) -> None:
    await publish(stage, 12)
    live = await stage.records(RECIPES_REQUESTED.name)
    report = await stage.replayed()
    copies = await stage.records(RECIPES_REQUESTED.name, stage.sandbox)
    assert (report.read, report.sent, report.types) == (12, 12, Counter({RecipesRequested.type: 12}))
    assert sorted(map(int, ids(copies))) == list(range(12))
    assert [(copy.key, copy.value) for copy in sorted(copies, key=lambda one: one.value)] == [
        (one.key, one.value) for one in sorted(live, key=lambda one: one.value)
    ]
    assert {headers(copy)["savo-replay"].decode() for copy in copies} == {report.replay}
    assert {headers(copy)["savo-replay-from"] for copy in copies} == {
        f"recipes.requested/{one.partition}/{one.offset}".encode() for one in live
    }
    assert await stage.records(RECIPES_REQUESTED.name) == live, "nothing live is touched"


async def test_a_service_on_the_sandbox_works_there_alone_and_passes_the_mark_on(stage: Stage) -> None:
    await publish(stage, 3)
    report = await stage.replayed()
    seen: list[str | None] = []

    @consumes(RECIPES_REQUESTED)
    @publishes(RECIPES_SUGGESTED)
    async def answer(event: RecipesRequested, replay: str | None) -> RecipesSuggested:
        seen.append(replay)
        return recipes_suggested(event.recipe_id)

    publisher = Publisher(stage.in_sandbox, "reasoning")
    consumers = Consumers(stage.in_sandbox, "reasoning", publisher, [bind(answer)])
    await consumers.start()
    try:
        await eventually(lambda: len(seen) == 3)
        answers: list[Any] = []

        async def published() -> bool:
            answers[:] = await stage.records(RECIPES_SUGGESTED.name, stage.sandbox)
            return len(answers) == 3

        await eventually(published)
    finally:
        await consumers.stop()
        await publisher.stop()
    assert set(seen) == {report.replay}
    assert {headers(record)["savo-replay"].decode() for record in answers} == {report.replay}
    assert await stage.records(RECIPES_SUGGESTED.name) == []
    assert await stage.bench.committed("reasoning", RECIPES_REQUESTED) == 0, "the live group is where it was"


class InterruptedHereError(Exception):
    pass


async def test_cut_off_in_the_middle_the_same_order_goes_on_where_it_was(stage: Stage) -> None:
    await publish(stage, 20)

    def cut(passed: int, _in_all: int) -> None:
        if passed >= 7:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        await stage.replay(stage.request(), rate=1000.0, on_progress=cut).run()
    before = len(await stage.records(RECIPES_REQUESTED.name, stage.sandbox))
    await publish(stage, 4)  # what comes later is not of this replay
    report = await stage.replayed()
    assert 0 < before < 20 or report.resumed
    assert (report.resumed, report.sent) == (True, 20)
    assert sorted(map(int, ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)))) == list(range(20))


async def test_killed_between_kafkas_acknowledgement_and_its_own_note_nothing_goes_twice(stage: Stage) -> None:
    await publish(stage, 8)
    replay = stage.replay(stage.request())
    report = await replay.run()
    noted = json.loads(replay.path.read_text())
    replay.path.write_text(
        json.dumps({**noted, "next": noted["starts"], "targets": {}, "read": 0, "sent": 0, "finished": False})
    )
    again = await stage.replayed()
    assert (again.replay, again.resumed, again.sent) == (report.replay, True, 8)
    assert sorted(map(int, ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)))) == list(range(8))


async def test_a_finished_order_given_again_is_a_new_replay(stage: Stage) -> None:
    await publish(stage, 2)
    first, second = await stage.replayed(), await stage.replayed()
    assert first.replay != second.replay
    assert len(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)) == 4


async def test_two_processes_do_not_carry_out_the_same_order_at_once(stage: Stage) -> None:
    replay = stage.replay(stage.request())
    with exclusive_lock(replay.path), pytest.raises(AlreadyRunningError):
        await replay.run()


async def test_a_dry_run_counts_and_writes_nothing(stage: Stage) -> None:
    await publish(stage, 5)
    report = await preview_replay(
        stage.settings, stage.request(selection=Selection(conditions=(parse_condition("recipe_id>=2"),)))
    )
    assert (report.read, report.chosen, report.left_out) == (5, 3, Counter({"not-selected": 2}))
    assert await stage.records(RECIPES_REQUESTED.name, stage.sandbox) == []
    assert not (stage.settings.data_dir / "replays").exists()


async def test_a_time_is_found_also_where_the_broker_cannot_look_it_up(stage: Stage) -> None:
    await publish(stage, 4)
    earlier = await stage.records(RECIPES_REQUESTED.name)
    after = max(record.timestamp for record in earlier) + 1
    await stage.bench.producer.send_and_wait(
        RECIPES_REQUESTED.name, b"{}", key=b"late", partition=1, timestamp_ms=after + 1000
    )
    moment = datetime.fromtimestamp((after + 500) / 1000, UTC).isoformat()
    assert (await preview_replay(stage.settings, stage.request(since=moment))).chosen == 1
    assert (await preview_replay(stage.settings, stage.request(until=moment))).chosen == 4


async def test_offsets_count_in_every_partition_or_in_one(stage: Stage) -> None:
    await publish(stage, 12)
    assert (await preview_replay(stage.settings, stage.request(since="1", until="2"))).chosen == 4
    assert (await preview_replay(stage.settings, stage.request(since="3/1"))).chosen == 2


async def test_what_was_erased_is_not_carried_again(stage: Stage) -> None:
    await stage.bench.publish(recipes_requested(1, scan="gone"))
    await stage.bench.publish(recipes_requested(2, scan="here"))
    await stage.bench.publish(ScanErased(scan_id="gone", subject="s", erased_at=NOON))
    report = await stage.replayed()
    assert report.left_out == Counter({"erased": 1})
    assert ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)) == ["2"]


async def test_into_a_compacted_original_only_the_newest_of_each_key_goes(stage: Stage) -> None:
    for subject in ("a", "b", "a"):
        event = SubjectErased(subject=subject, erased_at=NOON)
        await stage.bench.producer.send_and_wait(
            SUBJECTS_ERASED.name, event.model_dump_json().encode(), key=subject.encode(), partition=0
        )
    report = await stage.replayed(topic=SUBJECTS_ERASED, into="original", sandbox=None)
    assert (report.sent, report.left_out) == (2, Counter({"older-than-the-newest-of-its-key": 1}))
    again = await stage.replayed(topic=SUBJECTS_ERASED, into="original", sandbox=None)
    assert again.sent == 2, "the newest of each key is a copy by now"


async def test_into_the_original_it_ends_at_the_end_that_stood_and_copies_are_not_copied(stage: Stage) -> None:
    await publish(stage, 3)
    for _ in range(2):
        report = await stage.replayed(into="original", sandbox=None)
        assert report.sent == 3
    assert len(await stage.records(RECIPES_REQUESTED.name)) == 9
    entries = [json.loads(record.value) for record in await stage.records(AUDIT_RECORDED.name)]
    assert [entry["action"] for entry in entries if entry["after"].get("replay") == report.replay] == [
        "records.replayed"
    ]


def test_a_share_and_the_audit_log_are_never_replayed_into_the_original() -> None:
    from savo_operations.replay.requests import ReplayRequest

    for topic in (ROLLOUT_CHANGED, AUDIT_RECORDED):
        with pytest.raises(RefusedRequestError, match="savo"):
            ReplayRequest(topic, into="original")
        assert ReplayRequest(topic, sandbox="x").into == "sandbox"
