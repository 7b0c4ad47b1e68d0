"""Tests of replays: range, order, selection, marks, and continuation after an interruption."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.operations.tests.replay.conftest import Stage
from libs.runtime.tests.messaging.bench import NOON, eventually, recipes_requested, recipes_suggested
from savo_contracts.recipes import RecipesRequested, RecipesSuggested
from savo_contracts.scans import ScanErased
from savo_contracts.topics import AUDIT_RECORDED, RECIPES_REQUESTED, RECIPES_SUGGESTED, ROLLOUT_CHANGED, SUBJECTS_ERASED
from savo_contracts.users import SubjectErased
from savo_operations.replay.replay import preview_replay
from savo_operations.replay.replay_state import AlreadyRunningError, ReplayProgress, exclusive_lock
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


async def test_records_are_copied_into_the_sandbox_in_order_unchanged_and_marked(stage: Stage) -> None:
    await publish(stage, 12)
    live = await stage.records(RECIPES_REQUESTED.name)
    report = await stage.replayed()
    copies = await stage.records(RECIPES_REQUESTED.name, stage.sandbox)
    assert (report.read, report.sent, report.types) == (12, 12, Counter({RecipesRequested.type: 12}))
    assert sorted(map(int, ids(copies))) == list(range(12))
    assert [(copy.key, copy.value) for copy in sorted(copies, key=lambda record: record.value)] == [
        (record.key, record.value) for record in sorted(live, key=lambda record: record.value)
    ]
    assert {headers(copy)["savo-replay"].decode() for copy in copies} == {report.replay}
    assert {headers(copy)["savo-replay-from"] for copy in copies} == {
        f"recipes.requested/{record.partition}/{record.offset}".encode() for record in live
    }
    assert await stage.records(RECIPES_REQUESTED.name) == live, "the live topic is unchanged"


async def test_a_service_in_a_sandbox_stays_there_and_marks_what_it_publishes(stage: Stage) -> None:
    await publish(stage, 3)
    report = await stage.replayed()
    replays: list[str | None] = []

    @consumes(RECIPES_REQUESTED)
    @publishes(RECIPES_SUGGESTED)
    async def answer(event: RecipesRequested, replay: str | None) -> RecipesSuggested:
        replays.append(replay)
        return recipes_suggested(event.recipe_id)

    publisher = Publisher(stage.sandbox_settings, "reasoning")
    consumers = Consumers(stage.sandbox_settings, "reasoning", publisher, [bind(answer)])
    await consumers.start()
    try:
        await eventually(lambda: len(replays) == 3)
        answers: list[Any] = []

        async def published() -> bool:
            answers[:] = await stage.records(RECIPES_SUGGESTED.name, stage.sandbox)
            return len(answers) == 3

        await eventually(published)
    finally:
        await consumers.stop()
        await publisher.stop()
    assert set(replays) == {report.replay}
    assert {headers(record)["savo-replay"].decode() for record in answers} == {report.replay}
    assert await stage.records(RECIPES_SUGGESTED.name) == []
    assert await stage.bench.committed("reasoning", RECIPES_REQUESTED) == 0, "the live group has not moved"


class InterruptionError(Exception):
    pass


async def test_an_interrupted_request_continues_where_it_stopped(stage: Stage) -> None:
    await publish(stage, 20)

    def interrupt(passed: int, _total: int) -> None:
        if passed >= 7:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        await stage.replay(stage.request(), rate=1000.0, on_progress=interrupt).run()
    before = len(await stage.records(RECIPES_REQUESTED.name, stage.sandbox))
    await publish(stage, 4)  # later records do not belong to this replay
    report = await stage.replayed()
    assert 0 < before < 20 or report.resumed
    assert (report.resumed, report.sent) == (True, 20)
    assert sorted(map(int, ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)))) == list(range(20))


async def test_a_crash_between_acknowledgement_and_saving_sends_no_record_twice(stage: Stage) -> None:
    await publish(stage, 8)
    replay = stage.replay(stage.request())
    report = await replay.run()
    saved = json.loads(replay.path.read_text())
    unsaved = {"next": saved["starts"], "target_ends": {}, "read": 0, "sent": 0, "finished": False}
    replay.path.write_text(json.dumps(saved | unsaved))
    again = await stage.replayed()
    assert (again.replay, again.resumed, again.sent) == (report.replay, True, 8)
    assert sorted(map(int, ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)))) == list(range(8))


def test_a_progress_file_of_an_earlier_release_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "replay.json"
    offsets = {"starts": {"0": 0}, "ends": {"0": 9}, "next": {"0": 4}, "targets": {"0": 4}}
    times = {"since_ms": None, "until_ms": None}
    file.write_text(json.dumps({"replay": "r-1", "order": {"sandbox": "s"}, "left_out": {}} | offsets | times))
    progress = ReplayProgress.load(file)
    assert progress is not None
    assert (progress.request, progress.target_ends, progress.next) == ({"sandbox": "s"}, {0: 4}, {0: 4})


async def test_a_finished_request_that_is_repeated_is_a_new_replay(stage: Stage) -> None:
    await publish(stage, 2)
    first, second = await stage.replayed(), await stage.replayed()
    assert first.replay != second.replay
    assert len(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)) == 4


async def test_two_processes_cannot_carry_out_the_same_request_at_once(stage: Stage) -> None:
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


async def test_a_time_is_found_even_if_the_broker_cannot_look_it_up(stage: Stage) -> None:
    await publish(stage, 4)
    earlier = await stage.records(RECIPES_REQUESTED.name)
    after = max(record.timestamp for record in earlier) + 1
    await stage.bench.producer.send_and_wait(
        RECIPES_REQUESTED.name, b"{}", key=b"late", partition=1, timestamp_ms=after + 1000
    )
    moment = datetime.fromtimestamp((after + 500) / 1000, UTC).isoformat()
    assert (await preview_replay(stage.settings, stage.request(since=moment))).chosen == 1
    assert (await preview_replay(stage.settings, stage.request(until=moment))).chosen == 4


async def test_an_offset_applies_to_every_partition_or_to_one(stage: Stage) -> None:
    await publish(stage, 12)
    assert (await preview_replay(stage.settings, stage.request(since="1", until="2"))).chosen == 4
    assert (await preview_replay(stage.settings, stage.request(since="3/1"))).chosen == 2


async def test_erased_records_are_not_replayed(stage: Stage) -> None:
    await stage.bench.publish(recipes_requested(1, scan="gone"))
    await stage.bench.publish(recipes_requested(2, scan="here"))
    await stage.bench.publish(ScanErased(scan_id="gone", subject="s", erased_at=NOON))
    report = await stage.replayed()
    assert report.left_out == Counter({"erased": 1})
    assert ids(await stage.records(RECIPES_REQUESTED.name, stage.sandbox)) == ["2"]


async def test_a_replay_into_a_compacted_original_sends_only_the_newest_of_each_key(stage: Stage) -> None:
    for subject in ("a", "b", "a"):
        event = SubjectErased(subject=subject, erased_at=NOON)
        await stage.bench.producer.send_and_wait(
            SUBJECTS_ERASED.name, event.model_dump_json().encode(), key=subject.encode(), partition=0
        )
    report = await stage.replayed(topic=SUBJECTS_ERASED, into="original", sandbox=None)
    assert (report.sent, report.left_out) == (2, Counter({"older-than-the-newest-of-its-key": 1}))
    again = await stage.replayed(topic=SUBJECTS_ERASED, into="original", sandbox=None)
    assert again.sent == 2, "the newest record of each key is a copy now"


async def test_a_replay_into_the_original_stops_at_its_old_end_and_copies_no_copies(stage: Stage) -> None:
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
