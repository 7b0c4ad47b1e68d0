"""Class ids, the training threshold, and erasure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.class_registry import ClassPolicy, ClassRegistry, class_of
from savo_collector.collection import CollectSample
from savo_collector.pending_samples import PendingSamples
from savo_collector.ports import Photo
from savo_collector.thresholds import TrainingPolicy, check_thresholds
from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass
from savo_contracts.envelope import ImageRef
from savo_contracts.ingredients import CATALOGUE
from savo_contracts.samples import SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanErased
from savo_contracts.training import TrainingThresholdReached
from savo_contracts.users import SubjectErased
from savo_runtime.service import Runtime
from savo_runtime.testing import published_by_outbox

Factory = Callable[..., Any]


@pytest.fixture
def database(runtime: Runtime) -> SqlSampleDatabase:
    return SqlSampleDatabase(runtime.database, runtime.outbox)


async def stored_classes(runtime: Runtime) -> ClassList:
    return ClassList.model_validate_json(await runtime.store.get(CLASSES_KEY))


async def test_class_ids_follow_the_order_of_first_use_and_never_change(
    runtime: Runtime, database: SqlSampleDatabase, confirm: Factory
) -> None:
    registry, confirmed = ClassRegistry(runtime.store, database), await confirm(runtime)
    await registry.classes_for(confirmed, ["milk"])
    await registry.classes_for(confirmed, ["egg", "apple", "milk"])
    await registry.classes_for(confirmed, ["apple"])
    assert [(entry.id, entry.label) for entry in (await stored_classes(runtime)).classes] == [
        (0, "milk"),
        (1, "apple"),
        (2, "egg"),
    ]


async def test_registries_that_add_classes_at_once_never_assign_an_id_twice(
    runtime: Runtime, database: SqlSampleDatabase, confirm: Factory
) -> None:
    confirmed, labels = await confirm(runtime), sorted(CATALOGUE)[:24]
    registries = [ClassRegistry(_Interleaved(runtime.store), database) for _ in range(6)]
    found = await asyncio.gather(
        *(
            registry.classes_for(confirmed, labels[place * 3 : place * 3 + 6])
            for place, registry in enumerate(registries)
        )
    )
    classes = await stored_classes(runtime)
    assert [entry.id for entry in classes.classes] == list(range(len(classes.classes)))
    assert len(set(classes.names())) == len(classes.names()) == 21
    assert all(class_of(classes, name) == entry for by_name in found for name, entry in by_name.items())


async def test_a_merged_class_redirects_to_its_target(
    runtime: Runtime, database: SqlSampleDatabase, confirm: Factory
) -> None:
    merged = ClassList(
        classes=(IngredientClass(id=0, label="milk"), IngredientClass(id=1, label="oat_milk", redirects_to=0))
    )
    await runtime.store.put(CLASSES_KEY, merged.model_dump_json().encode())
    found = await ClassRegistry(runtime.store, database).classes_for(await confirm(runtime), ["oat_milk"])
    assert found["oat_milk"].id == 0


async def test_an_unknown_label_becomes_a_class_after_enough_confirmations_and_its_photos_are_retried(
    runtime: Runtime, database: SqlSampleDatabase, collect: CollectSample, confirm: Factory, kept: Factory
) -> None:
    collect = replace(collect, classes=replace(collect.classes, policy=ClassPolicy(users=2, samples=3)))
    pending = PendingSamples(database, replace(collect, writer=replace(collect.writer, publish_events=True)))
    events = [
        await collect(await confirm(runtime, f"scan-{number}", subject=subject, items=(kept("gloop"),), **extra))
        for number, (subject, extra) in enumerate(
            [("a", {}), ("a", {}), ("a", {}), ("n", {"anonymous": True}), ("b", {})]
        )
    ]
    assert [type(event) for event in events] == [SampleRejected] * 4 + [SampleStored], (
        "photos of one person, or of anonymous ones, make no class"
    )
    assert await pending.retry() == 4
    published = [event for event in await published_by_outbox(runtime) if isinstance(event, SampleStored)]
    assert sorted(event.scan_id for event in published) == ["scan-0", "scan-1", "scan-2", "scan-3"]
    assert await pending.retry() == 0


async def test_a_class_that_an_engineer_adds_makes_samples_of_its_photos(
    runtime: Runtime, database: SqlSampleDatabase, collect: CollectSample, confirm: Factory, kept: Factory
) -> None:
    assert isinstance(await collect(await confirm(runtime, items=(kept("gloop"),))), SampleRejected)
    pending = PendingSamples(database, replace(collect, writer=replace(collect.writer, publish_events=True)))
    assert await pending.retry() == 0
    await runtime.store.put(
        CLASSES_KEY, ClassList(classes=(IngredientClass(id=0, label="gloop"),)).model_dump_json().encode()
    )
    assert await pending.retry() == 1


async def test_a_new_class_retries_only_the_photos_whose_labels_have_classes(
    runtime: Runtime, database: SqlSampleDatabase, collect: CollectSample, confirm: Factory, kept: Factory
) -> None:
    labels = {"a": ("gloop",), "b": ("frobnicate",), "c": ("gloop", "frobnicate"), "d": ("gloop", "tomato")}
    for scan_id, names in labels.items():
        await collect(await confirm(runtime, scan_id, items=tuple(kept(name) for name in names)))
    await runtime.store.put(CLASSES_KEY, ClassList().extend(["tomato", "gloop"]).model_dump_json().encode())
    read: list[str] = []

    class Photos:
        async def read(self, image: ImageRef) -> Photo:
            read.append(image.sha256)
            return await collect.photos.read(image)

    writer = replace(collect.writer, publish_events=True)
    pending = PendingSamples(database, replace(collect, photos=Photos(), writer=writer))
    assert (await pending.retry(), len(read)) == (2, 2)
    await runtime.store.put(
        CLASSES_KEY, ClassList().extend(["tomato", "gloop", "frobnicate"]).model_dump_json().encode()
    )
    assert (await pending.retry(), len(read)) == (2, 4)


async def test_each_crossing_of_the_threshold_is_published_exactly_once(
    runtime: Runtime, build: Factory, confirm: Factory
) -> None:
    collect = build(runtime, training=TrainingPolicy(threshold=3))
    scans = [await confirm(runtime, f"scan-{number}", subject=f"s-{number}") for number in range(10)]
    await asyncio.gather(*map(collect, scans))
    await asyncio.gather(*map(collect, scans))
    events = [event for event in await published_by_outbox(runtime) if isinstance(event, TrainingThresholdReached)]
    assert [(event.reason, event.new_samples, event.total_samples) for event in events] == [
        ("samples", 3, 3),
        ("samples", 3, 6),
        ("samples", 3, 9),
    ]


async def test_after_thirty_days_one_new_sample_is_enough_for_a_run(
    runtime: Runtime, database: SqlSampleDatabase, build: Factory, confirm: Factory
) -> None:
    policy, clock = TrainingPolicy(), runtime.clock
    assert not await check_thresholds(database, policy, clock.advance(days=40))  # type: ignore[attr-defined]
    await build(runtime, training=policy)(await confirm(runtime))
    assert not await check_thresholds(database, policy, clock() + policy.every - timedelta(seconds=1))
    assert await check_thresholds(database, policy, clock() + policy.every)
    assert not await check_thresholds(database, policy, clock() + 3 * policy.every)
    (event,) = await published_by_outbox(runtime)
    assert isinstance(event, TrainingThresholdReached)
    assert (event.reason, event.new_samples) == ("age", 1)


async def test_an_erased_scan_leaves_no_object_row_or_count_even_after_a_replay(
    runtime: Runtime, database: SqlSampleDatabase, collect: CollectSample, confirm: Factory
) -> None:
    confirmed = await confirm(runtime)
    stored = await collect(confirmed)
    erased = ScanErased(
        scan_id="scan-1", subject=confirmed.subject, image_sha256=confirmed.image.sha256, erased_at=runtime.clock()
    )
    await collect.erasure.erase_scan(erased)
    await collect.erasure.erase_scan(erased)
    assert await collect(confirmed) is None
    assert isinstance(stored, SampleStored)
    assert [key for key in runtime.store.objects if key.startswith("samples/") and key != CLASSES_KEY] == []  # type: ignore[attr-defined]
    (event,) = await published_by_outbox(runtime)
    assert isinstance(event, SampleErased)
    assert event.sha256 == stored.sha256
    async with database.transaction() as transaction:
        counts = await transaction.counts()
        assert (counts.samples, counts.bytes, counts.new_samples) == (0, 0, 0)
        assert await transaction.sample_of_scan("scan-1") is None


@pytest.mark.parametrize("revision", [1, 2], ids=["while it is collected", "while it is corrected"])
@pytest.mark.parametrize("crashes", [False, True], ids=["", "and the collector crashes before it notices"])
async def test_an_erasure_during_a_collection_wins(
    revision: int, crashes: bool, runtime: Runtime, collect: CollectSample, confirm: Factory, revised: Factory
) -> None:
    confirmed = await confirm(runtime)
    if revision == 2:
        await collect(confirmed)
        confirmed = revised(confirmed)

    async def erase() -> None:
        await collect.erasure.erase_scan(
            ScanErased(scan_id="scan-1", subject=confirmed.subject, erased_at=runtime.clock())
        )

    interrupted = replace(
        collect, writer=replace(collect.writer, samples=_ErasedBeforeLabels(collect.writer.samples, erase, crashes))
    )
    with pytest.raises(ProcessLookupError) if crashes else nullcontext():
        assert await interrupted(confirmed) is None
    assert await collect(confirmed) is None
    assert [key for key in runtime.store.objects if key.startswith("samples/") and key != CLASSES_KEY] == []  # type: ignore[attr-defined]
    assert len(await published_by_outbox(runtime)) == revision - 1


async def test_a_revoked_consent_deletes_the_rejection_too_and_an_older_confirmation_restores_nothing(
    runtime: Runtime,
    database: SqlSampleDatabase,
    collect: CollectSample,
    confirm: Factory,
    revised: Factory,
    kept: Factory,
) -> None:
    unlabelled, stored = await confirm(runtime, "scan-1", items=(kept("gloop"),)), await confirm(runtime, "scan-2")
    for confirmed in (unlabelled, stored):
        await collect(confirmed)
        assert await collect(revised(confirmed, consent=False)) is None
    async with database.transaction() as transaction:
        assert await transaction.rejection_of("scan-1") is None
        assert (await transaction.counts()).samples == 0
    assert await collect(stored) is None


async def test_an_erased_person_loses_every_sample_and_rejection_for_good(
    runtime: Runtime, database: SqlSampleDatabase, collect: CollectSample, confirm: Factory, kept: Factory
) -> None:
    mine = [await confirm(runtime, f"scan-{number}", subject="me") for number in range(3)]
    rejected = await confirm(runtime, "scan-w", subject="me", items=(kept("gloop"),))
    other = await confirm(runtime, "scan-o", subject="you")
    for confirmed in (*mine, rejected, other):
        await collect(confirmed)
    await collect.erasure.erase_subject(SubjectErased(subject="me", erased_at=runtime.clock()))
    assert {event.scan_id for event in await published_by_outbox(runtime) if isinstance(event, SampleErased)} == {
        "scan-0",
        "scan-1",
        "scan-2",
    }
    assert [await collect(confirmed) for confirmed in (*mine, rejected)] == [None] * 4
    async with database.transaction() as transaction:
        assert (await transaction.counts()).samples == 1
        assert await transaction.rejection_of("scan-w") is None
        assert await transaction.assigned_split("me") is None


@pytest.mark.parametrize("cause", ["scan", "subject", "consent", "labels"])
async def test_a_stored_and_an_erased_sample_are_logged(
    cause: str, runtime: Runtime, collect: CollectSample, confirm: Factory, revised: Factory, kept: Factory
) -> None:
    confirmed = await confirm(runtime)
    with capture_logs() as logs:
        stored = await collect(confirmed)
        if cause == "scan":
            erased = ScanErased(scan_id="scan-1", subject=confirmed.subject, erased_at=runtime.clock())
            await collect.erasure.erase_scan(erased)
        elif cause == "subject":
            erasure = SubjectErased(subject=confirmed.subject, erased_at=runtime.clock())
            await collect.erasure.erase_subject(erasure)
        elif cause == "consent":
            await collect(revised(confirmed, consent=False))
        else:
            await collect(revised(confirmed, items=(kept("gloop"),)))
    assert isinstance(stored, SampleStored)
    events = [
        {name: value for name, value in line.items() if name != "log_level"}
        for line in logs
        if line["event"] in ("sample.stored", "sample.erased")
    ]
    sample = {"scan_id": "scan-1", "sha256": stored.sha256}
    assert events == [
        {"event": "sample.stored", **sample, "split": stored.split.value, "boxes": sum(stored.labels.values())},
        {"event": "sample.erased", **sample, "cause": cause},
    ]


class _ErasedBeforeLabels:
    def __init__(self, samples: Any, erase: Callable[[], Any], crashes: bool) -> None:
        self._samples, self._erase, self._crashes = samples, erase, crashes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._samples, name)

    async def put_labels(self, sha256: str, lines: str) -> None:
        await self._erase()
        await self._samples.put_labels(sha256, lines)
        if self._crashes:
            raise ProcessLookupError


class _Interleaved:
    """Lets other tasks run between every read and write."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return await getattr(self._store, name)(*args, **kwargs)

        return call
