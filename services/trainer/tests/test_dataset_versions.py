"""Data set versions: they stay as they were frozen, erasures reach them, and a removal leaves the other versions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    ManifestLine,
    dataset_version_key,
    frozen_labels_key,
    manifest_key,
)
from savo_contracts.samples import SampleErased, Split
from savo_runtime.testing import MemoryStore
from savo_trainer.adapters.tables import FrozenLabelsRow, SampleRow
from savo_trainer.errors import RunImpossibleError, UnknownVersionError, VersionInUseError
from savo_trainer.handlers import on_sample_erased
from savo_trainer.ports import IndexedSample
from savo_trainer.versions.catalogue import stored_versions
from savo_trainer.versions.checkout import checkout
from savo_trainer.versions.comparison import compare_versions
from savo_trainer.versions.freeze import Origin
from savo_trainer.versions.removal import DatasetRemoval
from services.trainer.tests.trainer_fakes import (
    NOON,
    Crash,
    Harness,
    as_an_earlier_release_froze_it,
    open_harness,
    store_sample,
    store_samples,
)

MIA = Origin(by="mia", reason="before the merge")


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path / "runs") as built:
        yield built


async def freeze(harness: Harness, folder: Path, origin: Origin = MIA) -> str:
    return (await harness.freeze("ingredients", origin, folder)).version


async def relabel(harness: Harness, sample: IndexedSample, labels: bytes) -> None:
    """A correction, as the collector stores it."""
    await harness.store.put(sample.labels_key, labels)


async def erase(harness: Harness, sample: IndexedSample) -> None:
    """An erasure, as the collector and the trainer's handler carry it out."""
    for key in (sample.labels_key, sample.image_key):
        await harness.store.delete(key)
    event = SampleErased(sha256=sample.sha256, scan_id="s", subject="p", erased_at=NOON + timedelta(hours=1))
    await on_sample_erased(event, harness.samples, harness.labels)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "dataset.yaml"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def frozen_labels(store: MemoryStore) -> set[str]:
    return {key for key in store.objects if key.startswith("datasets/labels/")}


@pytest.mark.parametrize("corrections", [12, pytest.param(1000, marks=pytest.mark.real)])
async def test_a_checkout_gives_the_same_bytes_after_corrections_a_merge_and_an_erasure(
    harness: Harness, tmp_path: Path, corrections: int
) -> None:
    samples = await store_samples(harness.store, harness.samples, train=corrections - 3)
    version = await freeze(harness, tmp_path / "frozen")
    await checkout(version, harness.store, tmp_path / "before")
    for number, sample in enumerate(samples):
        await relabel(harness, sample, f"0 0.1 0.1 0.1 {number % 9 / 10 + 0.1}\n".encode())
    classes = ClassList.model_validate_json(harness.store.objects[CLASSES_KEY])
    merged = classes.classes[2].model_copy(update={"redirects_to": 0})
    await harness.store.put(CLASSES_KEY, ClassList(classes=(*classes.classes[:2], merged)).model_dump_json().encode())
    await erase(harness, samples[0])
    later = await freeze(harness, tmp_path / "frozen-later")
    checked_out = await checkout(version, harness.store, tmp_path / "after")
    assert later != version
    before, after = files(tmp_path / "before"), files(tmp_path / "after")
    gone = {path for path in before if samples[0].sha256 in path}
    assert len(gone) == 2
    assert after.pop("erased.txt").decode() == f"{samples[0].sha256}\n"
    assert checked_out.erased == (samples[0].sha256,)
    assert after == {path: content for path, content in before.items() if path not in gone}


async def test_label_files_go_with_the_last_photo_that_has_them(harness: Harness, tmp_path: Path) -> None:
    samples = await store_samples(harness.store, harness.samples)
    await freeze(harness, tmp_path)
    key = frozen_labels_key(hashlib.sha256(b"0 0.5 0.5 0.2 0.2\n").hexdigest())
    assert len(frozen_labels(harness.store)) == 3
    of_class_0 = [sample for number, sample in enumerate(samples) if number % 3 == 0]
    for sample in of_class_0[:-1]:
        await erase(harness, sample)
    assert key in harness.store.objects, "another photo has an equal label file"
    await erase(harness, of_class_0[-1])
    await erase(harness, of_class_0[-1])
    assert key not in harness.store.objects
    assert len(frozen_labels(harness.store)) == 2


async def lose_tables(harness: Harness) -> None:
    """The trainer's database is lost. The bucket stays."""
    async with harness.runtime.database.session() as session:
        for row in (FrozenLabelsRow, SampleRow):
            await session.execute(delete(row))


def labels_key(labels: bytes) -> str:
    return frozen_labels_key(hashlib.sha256(labels).hexdigest())


async def test_a_removal_keeps_the_label_files_of_a_version_that_the_database_lost(
    harness: Harness, tmp_path: Path
) -> None:
    await store_samples(harness.store, harness.samples)
    lost = await freeze(harness, tmp_path / "a")
    await lose_tables(harness)
    await store_samples(harness.store, harness.samples, first=30)
    later = await freeze(harness, tmp_path / "b")
    await lose_tables(harness)
    assert await removal(harness)(later, tmp_path / "rm") == 7
    assert (await checkout(lost, harness.store, tmp_path / "out")).erased == ()
    assert await removal(harness)(lost, tmp_path / "rm") == 7
    assert frozen_labels(harness.store) == set()


async def test_an_erasure_reaches_a_version_that_the_database_lost_and_keeps_the_files_of_others(
    harness: Harness, tmp_path: Path
) -> None:
    shared, own = b"0 0.5 0.5 0.2 0.2\n", b"0 0.9 0.9 0.1 0.1\n"
    samples = await store_samples(harness.store, harness.samples, train=1, val=0, test=1)
    for sample, labels in zip(samples, (shared, shared), strict=True):
        await relabel(harness, sample, labels)
    unique = await store_sample(harness.store, 50, Split.TRAIN, labels=own.decode())
    await harness.samples.record(unique)
    await freeze(harness, tmp_path)
    await lose_tables(harness)
    await harness.labels.add([(hashlib.sha256(shared).hexdigest(), samples[0].sha256)])
    await erase(harness, samples[0])
    assert labels_key(shared) in harness.store.objects, "another photo has an equal label file"
    await lose_tables(harness)
    await erase(harness, unique)
    await erase(harness, samples[1])
    assert frozen_labels(harness.store) == set(), "no photo that was erased keeps a file"


async def test_manifests_of_known_versions_are_not_read_again(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(key: str, path: Path) -> None:
        raise AssertionError(f"{key} is read")

    samples = await store_samples(harness.store, harness.samples)
    await freeze(harness, tmp_path / "a")
    monkeypatch.setattr(harness.store, "download", refuse)
    await erase(harness, samples[0])
    await freeze(harness, tmp_path / "b")
    monkeypatch.undo()
    await lose_tables(harness)
    await harness.labels.complete()
    monkeypatch.setattr(harness.store, "download", refuse)
    await harness.labels.complete()


async def test_a_late_erasure_event_of_a_photo_that_was_stored_again_deletes_nothing(
    harness: Harness, tmp_path: Path
) -> None:
    samples = await store_samples(harness.store, harness.samples)
    await freeze(harness, tmp_path)
    event = SampleErased(sha256=samples[0].sha256, scan_id="s", subject="p", erased_at=NOON - timedelta(hours=1))
    await on_sample_erased(event, harness.samples, harness.labels)
    assert len(frozen_labels(harness.store)) == 3


async def test_a_photo_erased_during_the_freeze_is_not_in_the_version(harness: Harness, tmp_path: Path) -> None:
    samples = await store_samples(harness.store, harness.samples)
    unique = await store_sample(harness.store, 50, Split.TRAIN, labels="0 0.9 0.9 0.1 0.1\n")
    await harness.samples.record(unique)

    async def erase_unique() -> None:
        await erase(harness, unique)

    after_write(harness.store, "put_if_absent", "datasets/labels/", erase_unique)
    version = await freeze(harness, tmp_path)
    listed = [ManifestLine.model_validate_json(line) for line in manifest(harness, version)]
    assert {line.sha256 for line in listed} == {sample.sha256 for sample in samples}
    assert len(frozen_labels(harness.store)) == 3
    assert all(line.labels_key in harness.store.objects for line in listed)


async def test_samples_that_the_collector_writes_during_a_freeze_are_in_it_as_they_were_before_or_after(
    harness: Harness, tmp_path: Path
) -> None:
    samples = await store_samples(harness.store, harness.samples)

    async def collect() -> None:
        for sample in samples:
            await relabel(harness, sample, b"2 0.3 0.3 0.1 0.1\n")
        await harness.samples.record(await store_sample(harness.store, 60, Split.TRAIN))

    after_write(harness.store, "put_if_absent", "datasets/labels/", collect)
    version = await freeze(harness, tmp_path / "frozen")
    checked_out = await checkout(version, harness.store, tmp_path / "out")
    assert checked_out.erased == ()
    assert sum(checked_out.samples.values()) in (len(samples), len(samples) + 1)


async def test_two_freezes_at_once_make_two_complete_versions(harness: Harness, tmp_path: Path) -> None:
    await store_samples(harness.store, harness.samples)
    other = harness.replica("replica-2")
    versions = await asyncio.gather(
        freeze(harness, tmp_path / "a", Origin(run_id="run-a")), freeze(other, tmp_path / "b", Origin(run_id="run-b"))
    )
    assert sorted(versions) == ["ds-000001", "ds-000002"]
    assert all(version.is_complete for version in await stored_versions(harness.store))


@pytest.mark.parametrize("moment", ["datasets/labels/", "version.json", "classes.json", "manifest.jsonl"])
async def test_a_freeze_that_is_killed_continues_with_its_number(harness: Harness, tmp_path: Path, moment: str) -> None:
    async def crash() -> None:
        raise Crash

    await store_samples(harness.store, harness.samples)
    after_write(harness.store, "upload" if moment == "manifest.jsonl" else "put_if_absent", moment, crash)
    with pytest.raises(Crash):
        await freeze(harness, tmp_path / "a")
    complete = [version.name for version in await stored_versions(harness.store) if version.is_complete]
    assert complete == (["ds-000001"] if moment == "manifest.jsonl" else [])
    assert await freeze(harness, tmp_path / "b") == "ds-000001"
    assert sum((await checkout("ds-000001", harness.store, tmp_path / "out")).samples.values()) == 7


async def test_a_freeze_without_a_change_names_the_newest_version(harness: Harness, tmp_path: Path) -> None:
    await store_samples(harness.store, harness.samples)
    assert [await freeze(harness, tmp_path / str(number)) for number in range(2)] == ["ds-000001"] * 2
    (version,) = await stored_versions(harness.store)
    assert version.description is not None
    assert (version.description.by, version.description.reason) == ("mia", "before the merge")
    assert version.description.samples == {"train": 4, "val": 1, "test": 2}
    assert version.description.boxes == {"tomato": 3, "banana": 2, "egg": 2}


def removal(harness: Harness) -> DatasetRemoval:
    return DatasetRemoval(harness.labels, harness.run_store, harness.store, harness.freeze.lease, harness.clock)


async def test_a_version_is_not_removed_while_a_model_refers_to_it(harness: Harness, tmp_path: Path) -> None:
    await store_samples(harness.store, harness.samples)
    await harness.request()
    await harness.work()
    before = dict(harness.store.objects)
    with pytest.raises(VersionInUseError, match="model v1 refers to it"):
        await removal(harness)("ds-000001", tmp_path)
    assert harness.store.objects == before
    (version,) = await stored_versions(harness.store)
    assert version.models == ("v1",)


async def test_a_removal_deletes_the_label_files_of_this_version_alone(harness: Harness, tmp_path: Path) -> None:
    samples = await store_samples(harness.store, harness.samples)
    first = await freeze(harness, tmp_path / "a")
    await relabel(harness, samples[0], b"1 0.7 0.7 0.1 0.1\n")
    second = await freeze(harness, tmp_path / "b")
    assert len(frozen_labels(harness.store)) == 4
    assert await removal(harness)(second, tmp_path / "rm") == 1
    assert len(frozen_labels(harness.store)) == 3
    assert (await checkout(first, harness.store, tmp_path / "out")).erased == ()
    assert [version.name for version in await stored_versions(harness.store)] == [first]
    with pytest.raises(UnknownVersionError):
        await checkout(second, harness.store, tmp_path / "gone")
    assert await freeze(harness, tmp_path / "c") == "ds-000003", "the number of a removed version is not used again"


async def test_an_interrupted_removal_is_repeated(harness: Harness, tmp_path: Path) -> None:
    await store_samples(harness.store, harness.samples)
    version = await freeze(harness, tmp_path / "a")

    async def crash() -> None:
        raise Crash

    after_write(harness.store, "put", dataset_version_key(version), crash)
    with pytest.raises(Crash):
        await removal(harness)(version, tmp_path / "rm")
    (listed,) = await stored_versions(harness.store)
    assert not listed.is_complete
    assert await removal(harness)(version, tmp_path / "again") == 7
    assert frozen_labels(harness.store) == set()
    assert [key for key in harness.store.objects if key.startswith("datasets/")] == [dataset_version_key(version)]


async def test_a_version_of_an_earlier_release_is_checked_out_compared_and_removed(
    harness: Harness, tmp_path: Path
) -> None:
    samples = await store_samples(harness.store, harness.samples)
    await as_an_earlier_release_froze_it("ds-000001", samples, harness.store, tmp_path)
    await relabel(harness, samples[1], b"0 0.9 0.9 0.1 0.1\n")
    later = await freeze(harness, tmp_path / "later")
    assert later == "ds-000002"
    checked_out = await checkout("ds-000001", harness.store, tmp_path / "out")
    assert checked_out.erased == (samples[1].sha256,), "the release kept no copy of the label file"
    diff = await compare_versions("ds-000001", later, harness.store, tmp_path / "diff")
    assert diff.as_dict()["samples"]["relabelled"] == [samples[1].sha256]
    assert await removal(harness)("ds-000001", tmp_path / "rm") == 0
    assert [version.name for version in await stored_versions(harness.store)] == [later]
    assert all(sample.labels_key in harness.store.objects for sample in samples)


async def test_a_comparison_names_samples_classes_and_boxes_that_changed(harness: Harness, tmp_path: Path) -> None:
    samples = await store_samples(harness.store, harness.samples)
    first = await freeze(harness, tmp_path / "a")
    await erase(harness, samples[0])
    await relabel(harness, samples[1], b"3 0.5 0.5 0.2 0.2\n")
    added = await store_sample(harness.store, 90, Split.TRAIN)
    await harness.samples.record(added)
    classes = ClassList.model_validate_json(harness.store.objects[CLASSES_KEY]).extend(["leek"])
    merged = classes.classes[2].model_copy(update={"redirects_to": 0})
    changed = ClassList(classes=(*classes.classes[:2], merged, classes.classes[3]))
    await harness.store.put(CLASSES_KEY, changed.model_dump_json().encode())
    second = await freeze(harness, tmp_path / "b")
    diff = (await compare_versions(first, second, harness.store, tmp_path / "diff")).as_dict()
    assert diff["counts"] == {"same": 5, "added": 1, "removed": 1, "relabelled": 1, "moved": 0}
    assert diff["samples"]["added"] == [added.sha256]
    assert diff["samples"]["removed"] == [samples[0].sha256]
    assert diff["samples"]["relabelled"] == [samples[1].sha256]
    assert diff["classes"] == {"added": ["leek"], "merged": {"egg": "tomato"}}
    assert diff["boxes"] == {"tomato": [3, 5], "banana": [2, 1], "egg": [2, 0], "leek": [0, 1]}


def manifest(harness: Harness, version: str) -> list[bytes]:
    return harness.store.objects[manifest_key(version)].splitlines()


def after_write(store: MemoryStore, method: str, part: str, action: Callable[[], Awaitable[None]]) -> None:
    """Call `action` once, right after the first object whose key has this part was written."""
    write, called = getattr(store, method), False

    async def wrapped(key: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal called
        done = await write(key, *args, **kwargs)
        if part in key and not called:
            called = True
            await action()
        return done

    setattr(store, method, wrapped)


async def test_a_person_may_freeze_samples_of_train_alone(harness: Harness, tmp_path: Path) -> None:
    with pytest.raises(RunImpossibleError, match="there is no sample to freeze"):
        await freeze(harness, tmp_path / "a")
    await store_samples(harness.store, harness.samples, test=0)
    assert await freeze(harness, tmp_path / "b") == "ds-000001"
    with pytest.raises(RunImpossibleError, match="there is no sample to measure on"):
        await freeze(harness, tmp_path / "c", Origin(run_id="run-a"))


async def test_a_checkout_of_an_unknown_version_leaves_no_folder(harness: Harness, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersionError):
        await checkout("ds-000007", harness.store, tmp_path / "here" / "out")
    assert not (tmp_path / "here").exists()
