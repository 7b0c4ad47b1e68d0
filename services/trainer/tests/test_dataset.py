"""Data set versions: freezing, mapping of classes, and the download."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass, dataset_classes_key, manifest_key
from savo_contracts.samples import Split
from savo_runtime.testing import FakeClock, MemoryStore
from savo_trainer.errors import RunImpossibleError
from savo_trainer.ports import IndexedSample
from savo_trainer.training.dataset import download_dataset
from savo_trainer.versions.freeze import DatasetFreeze, FrozenDataset, Origin
from savo_trainer.versions.manifest import fetch_manifest
from services.trainer.tests.trainer_fakes import (
    NOON,
    as_an_earlier_release_froze_it,
    open_harness,
    store_sample,
    store_samples,
)

Freeze = Callable[[str, Iterable[IndexedSample], MemoryStore], Awaitable[FrozenDataset]]


class InMemoryVersionNumbers:
    """Version numbers without a database."""

    def __init__(self) -> None:
        self.assigned: dict[str, int] = {}

    async def dataset_version(self, run_id: str, *, above: int = 0) -> str:
        if self.assigned.get(run_id, 0) <= above:
            self.assigned[run_id] = max([above, *self.assigned.values()]) + 1
        return f"ds-{self.assigned[run_id]:06d}"

    async def existing_model_version(self, run_id: str) -> str | None:
        return None

    async def model_version(self, run_id: str, *, above: int = 0) -> str:
        raise AssertionError("no model is made here")


@dataclass(frozen=True)
class ListedSamples:
    """An index of these samples, without a database. None of them is erased."""

    samples: Iterable[IndexedSample]

    async def in_dataset(self, dataset: str) -> AsyncIterator[IndexedSample]:
        for sample in sorted(self.samples, key=lambda sample: sample.sha256):
            yield sample

    async def erased(self, hashes: Sequence[str]) -> set[str]:
        return set()

    async def record(self, sample: IndexedSample) -> None:
        raise NotImplementedError

    async def erase(self, sha256: str, at: datetime) -> None:
        raise NotImplementedError


class UncountedLabels:
    """Label files that no other sample can have."""

    async def complete(self) -> None: ...

    async def add_version(self, version: str, manifest_sha256: str) -> None: ...

    async def forget_version(self, version: str) -> None: ...

    async def add(self, pairs: Sequence[tuple[str, str]]) -> set[str]:
        return set()

    async def release(self, pairs: Sequence[tuple[str, str]]) -> None: ...

    async def erase(self, sha256: str) -> None: ...


class FreeLease:
    renew_every = 10.0

    async def acquire(self) -> bool:
        return True

    async def renew(self) -> None: ...

    async def release(self) -> None: ...


@pytest.fixture
def frozen(tmp_path: Path) -> Freeze:
    """Freezes samples for a run. The numbers are those of one database, each freeze has a folder of its own."""
    numbers, folders = InMemoryVersionNumbers(), iter(range(100))

    async def freeze_samples(run_id: str, samples: Iterable[IndexedSample], store: MemoryStore) -> FrozenDataset:
        index, clock = ListedSamples(samples), FakeClock(NOON)
        freeze = DatasetFreeze(index, UncountedLabels(), numbers, store, FreeLease(), clock)
        return await freeze("ingredients", Origin(run_id), tmp_path / f"frozen-{next(folders)}")

    return freeze_samples


async def test_the_same_samples_give_the_same_manifest_in_any_order(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        store, samples = harness.store, await store_samples(harness.store, None)
        for sample in random.Random(3).sample(samples, len(samples)):
            await harness.samples.record(sample)
        first = await harness.freeze("ingredients", Origin("run-a"), tmp_path / "a")
        second = await harness.freeze("ingredients", Origin("run-b"), tmp_path / "b")
    assert (first.version, second.version) == ("ds-000001", "ds-000002")
    assert store.objects[manifest_key("ds-000001")] == store.objects[manifest_key("ds-000002")]
    assert [line.sha256 for line in first.manifest] == sorted(sample.sha256 for sample in samples)


async def test_a_frozen_version_is_never_written_again(frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    await frozen("run-a", samples, store)
    before = store.objects[manifest_key("ds-000001")]
    more = samples + await store_samples(store, None, first=100)
    again = await frozen("run-a", more, store)
    assert again.version == "ds-000002"
    assert store.objects[manifest_key("ds-000001")] == before


async def test_freezing_again_after_a_crash_takes_the_version_already_written(frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    first, again = [await frozen("run-a", samples, store) for _ in range(2)]
    assert first.version == again.version == "ds-000001"


async def test_numbers_continue_above_versions_that_only_the_bucket_has(frozen: Freeze) -> None:
    store = MemoryStore()
    await store.put(manifest_key("ds-000001"), b"of another history")
    version = await frozen("run-a", await store_samples(store, None), store)
    assert version.version == "ds-000002"
    assert store.objects[manifest_key("ds-000001")] == b"of another history"


@pytest.mark.parametrize("missing", ["train", "test"])
async def test_without_training_or_holdout_samples_a_run_is_impossible(missing: str, frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None, **{missing: 0})
    with pytest.raises(RunImpossibleError, match="there is no sample") as refused:
        await frozen("run-a", samples, store)
    assert "people" in refused.value.next_steps[0]


async def test_an_erased_sample_is_not_frozen(frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    await store.delete(samples[0].labels_key)
    version = await frozen("run-a", samples, store)
    assert samples[0].sha256 not in {line.sha256 for line in version.manifest}


async def test_images_labels_and_classes_are_written_in_the_layout_of_ultralytics(
    tmp_path: Path, frozen: Freeze
) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    material = await download_dataset(await frozen("run-a", samples, store), store, tmp_path)
    data = yaml.safe_load(material.data.read_text(encoding="utf-8"))
    assert data["names"] == {0: "tomato", 1: "banana", 2: "egg"}
    assert len(list((tmp_path / "images" / "train").iterdir())) == 4
    assert (tmp_path / "labels" / "test" / f"{samples[-1].sha256}.txt").read_text(
        encoding="utf-8"
    ) == "0 0.5 0.5 0.2 0.2\n"
    assert (material.counts[Split.TRAIN], material.counts[Split.VAL], material.counts[Split.TEST]) == (4, 1, 2)


async def test_without_val_samples_validation_uses_training_photos_and_never_the_holdout(
    tmp_path: Path, frozen: Freeze
) -> None:
    store = MemoryStore()
    material = await download_dataset(
        await frozen("run-a", await store_samples(store, None, val=0), store), store, tmp_path
    )
    assert yaml.safe_load(material.data.read_text(encoding="utf-8"))["val"] == "images/train"


async def test_a_sample_erased_after_the_freeze_is_left_out_and_a_relabelled_one_keeps_its_labels(
    tmp_path: Path, frozen: Freeze
) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    version = await frozen("run-a", samples, store)
    await store.delete(samples[0].image_key)
    await store.put(samples[1].labels_key, b"2 0.1 0.1 0.1 0.1\n")
    material = await download_dataset(version, store, tmp_path)
    assert (material.left_out, material.counts[Split.TRAIN]) == (1, 3)
    labels = (tmp_path / "labels" / "train" / f"{samples[1].sha256}.txt").read_text(encoding="utf-8")
    assert labels == "1 0.5 0.5 0.2 0.2\n"


async def test_of_a_version_of_an_earlier_release_relabelled_samples_are_left_out(
    tmp_path: Path, frozen: Freeze
) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    manifest = await as_an_earlier_release_froze_it("ds-000001", samples, store, tmp_path)
    await store.delete(samples[0].image_key)
    await store.put(samples[1].labels_key, b"2 0.1 0.1 0.1 0.1\n")
    material = await download_dataset(FrozenDataset("ds-000001", manifest), store, tmp_path)
    assert material.left_out == 2
    assert material.counts[Split.TRAIN] == 2
    assert not (tmp_path / "labels" / "train" / f"{samples[1].sha256}.txt").exists()


async def test_a_background_sample_is_trained_on_with_an_empty_label_file(tmp_path: Path, frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    empty = await store_sample(store, 50, Split.TRAIN, labels="")
    version = await frozen("run-a", [*samples, empty], store)
    material = await download_dataset(version, store, tmp_path)
    assert (material.counts[Split.TRAIN], material.left_out) == (5, 0)
    assert (tmp_path / "labels" / "train" / f"{empty.sha256}.txt").read_bytes() == b""


async def test_a_holdout_of_background_samples_alone_makes_a_run_impossible(tmp_path: Path, frozen: Freeze) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None, test=0)
    samples.append(await store_sample(store, 50, Split.TEST, labels=""))
    version = await frozen("run-a", samples, store)
    with pytest.raises(RunImpossibleError, match="there is no sample to measure on"):
        await download_dataset(version, store, tmp_path)


async def test_outputs_are_dense_and_follow_redirects(tmp_path: Path, frozen: Freeze) -> None:
    store = MemoryStore()
    drawn = ((2, Split.TRAIN), (5, Split.TRAIN), (7, Split.TEST))
    samples = [
        await store_sample(store, class_id, split, labels=f"{class_id} 0.5 0.5 0.2 0.2\n") for class_id, split in drawn
    ]
    redirected = [
        IngredientClass(id=number, label=f"label{number}", redirects_to=2 if number == 7 else None)
        for number in range(9)
    ]
    await store.put(CLASSES_KEY, ClassList(classes=tuple(redirected)).model_dump_json().encode())
    material = await download_dataset(await frozen("run-a", samples, store), store, tmp_path)
    assert material.classes.names == ("label2", "label5")
    assert material.classes.output_of_class_id == {2: 0, 5: 1, 7: 0}
    assert (tmp_path / "labels" / "test" / f"{samples[2].sha256}.txt").read_text(encoding="utf-8").startswith("0 ")


async def test_a_class_list_without_a_label_s_class_fails_the_run_with_a_next_step(
    tmp_path: Path, frozen: Freeze
) -> None:
    store = MemoryStore()
    version = await frozen("run-a", await store_samples(store, None), store)
    await store.put(dataset_classes_key(version.version), ClassList().model_dump_json().encode())
    with pytest.raises(RunImpossibleError, match="does not contain") as refused:
        await download_dataset(version, store, tmp_path)
    assert refused.value.next_steps == (
        "Restore samples/classes.json from a backup: classes are never removed from it.",
    )


async def test_a_frozen_version_can_be_read_back(tmp_path: Path, frozen: Freeze) -> None:
    store = MemoryStore()
    version = await frozen("run-a", await store_samples(store, None), store)
    read = await fetch_manifest(version.version, store, tmp_path / "read")
    assert list(read) == list(version.manifest) != []


async def test_each_label_file_and_photo_is_fetched_once_in_all_stages_of_a_run(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        samples = await store_samples(harness.store, harness.samples)
        requests = count_reads(harness.store)
        await harness.request()
        await harness.work()
    of_samples = {key: count for key, count in requests.items() if key.startswith("samples/images/")}
    of_labels = {key: count for key, count in requests.items() if "labels/" in key}
    assert of_samples == {sample.image_key: 1 for sample in samples}
    assert of_labels == {sample.labels_key: 1 for sample in samples}
    frozen_labels = [key for key in harness.store.objects if key.startswith("datasets/labels/")]
    assert len(frozen_labels) == 3, "equal label files are stored once"


async def test_a_sample_erased_between_two_stages_leaves_the_local_disk(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        samples = await store_samples(harness.store, harness.samples)
        folder = tmp_path / "run"
        version = await harness.freeze("ingredients", Origin("run-a"), folder)
        await download_dataset(version, harness.store, folder, harness.samples.erased)
        await harness.samples.erase(samples[0].sha256, NOON + timedelta(hours=1))
        material = await download_dataset(version, harness.store, folder, harness.samples.erased)
    assert (material.left_out, material.counts[Split.TRAIN]) == (1, 3)
    assert not [path for path in folder.rglob("*") if samples[0].sha256 in path.name]


def count_reads(store: MemoryStore) -> Counter[str]:
    """Counts the reads of each key from now on, downloads included."""
    counts, get = Counter[str](), store.get

    async def counted_get(key: str) -> bytes:
        counts[key] += 1
        return await get(key)

    store.get = counted_get  # type: ignore[method-assign]
    return counts
