"""Data set versions: freezing, mapping of classes, and the download."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass, manifest_key
from savo_contracts.samples import Split
from savo_runtime.testing import MemoryStore
from savo_trainer.errors import RunImpossibleError
from savo_trainer.training.dataset import download_dataset, freeze, read_manifest
from services.trainer.tests.trainer_fakes import open_harness, store_sample, store_samples


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


async def test_the_same_samples_give_the_same_manifest_in_any_order() -> None:
    store, numbers = MemoryStore(), InMemoryVersionNumbers()
    samples = await store_samples(store, None)
    first = await freeze("run-a", samples, store, numbers)
    shuffled = random.Random(3).sample(samples, len(samples))
    second = await freeze("run-b", shuffled, store, numbers)
    assert (first.version, second.version) == ("ds-000001", "ds-000002")
    assert store.objects[manifest_key("ds-000001")] == store.objects[manifest_key("ds-000002")]
    assert [line.sha256 for line in first.lines] == sorted(sample.sha256 for sample in samples)


async def test_a_frozen_version_is_never_written_again() -> None:
    store, numbers = MemoryStore(), InMemoryVersionNumbers()
    samples = await store_samples(store, None)
    await freeze("run-a", samples, store, numbers)
    before = store.objects[manifest_key("ds-000001")]
    more = samples + await store_samples(store, None, first=100)
    again = await freeze("run-a", more, store, numbers)
    assert again.version == "ds-000002"
    assert store.objects[manifest_key("ds-000001")] == before


async def test_freezing_again_after_a_crash_takes_the_version_already_written() -> None:
    store, numbers = MemoryStore(), InMemoryVersionNumbers()
    samples = await store_samples(store, None)
    assert await freeze("run-a", samples, store, numbers) == await freeze("run-a", samples, store, numbers)


async def test_numbers_continue_above_versions_that_only_the_bucket_has() -> None:
    store = MemoryStore()
    await store.put(manifest_key("ds-000001"), b"of another history")
    frozen = await freeze("run-a", await store_samples(store, None), store, InMemoryVersionNumbers())
    assert frozen.version == "ds-000002"
    assert store.objects[manifest_key("ds-000001")] == b"of another history"


@pytest.mark.parametrize("missing", ["train", "test"])
async def test_without_training_or_holdout_samples_a_run_is_impossible(missing: str) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None, **{missing: 0})
    with pytest.raises(RunImpossibleError, match="there is no sample") as refused:
        await freeze("run-a", samples, store, InMemoryVersionNumbers())
    assert "people" in refused.value.next_steps[0]


async def test_an_erased_sample_is_not_frozen() -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    await store.delete(samples[0].labels_key)
    frozen = await freeze("run-a", samples, store, InMemoryVersionNumbers())
    assert samples[0].sha256 not in {line.sha256 for line in frozen.lines}


async def test_images_labels_and_classes_are_written_in_the_layout_of_ultralytics(tmp_path: Path) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    material = await download_dataset(await freeze("run-a", samples, store, InMemoryVersionNumbers()), store, tmp_path)
    data = yaml.safe_load(material.data.read_text(encoding="utf-8"))
    assert data["names"] == {0: "tomato", 1: "banana", 2: "egg"}
    assert len(list((tmp_path / "images" / "train").iterdir())) == 4
    assert (tmp_path / "labels" / "test" / f"{samples[-1].sha256}.txt").read_text(
        encoding="utf-8"
    ) == "0 0.5 0.5 0.2 0.2\n"
    assert (material.counts[Split.TRAIN], material.counts[Split.VAL], material.counts[Split.TEST]) == (4, 1, 2)


async def test_without_val_samples_validation_uses_training_photos_and_never_the_holdout(tmp_path: Path) -> None:
    store = MemoryStore()
    material = await download_dataset(
        await freeze("run-a", await store_samples(store, None, val=0), store, InMemoryVersionNumbers()), store, tmp_path
    )
    assert yaml.safe_load(material.data.read_text(encoding="utf-8"))["val"] == "images/train"


async def test_samples_erased_or_relabelled_after_the_freeze_are_left_out_and_counted(tmp_path: Path) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    frozen = await freeze("run-a", samples, store, InMemoryVersionNumbers())
    await store.delete(samples[0].image_key)
    await store.put(samples[1].labels_key, b"2 0.1 0.1 0.1 0.1\n")
    material = await download_dataset(frozen, store, tmp_path)
    assert material.left_out == 2
    assert material.counts[Split.TRAIN] == 2
    assert not (tmp_path / "labels" / "train" / f"{samples[1].sha256}.txt").exists()


async def test_a_background_sample_is_trained_on_with_an_empty_label_file(tmp_path: Path) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None)
    empty = await store_sample(store, 50, Split.TRAIN, labels="")
    frozen = await freeze("run-a", [*samples, empty], store, InMemoryVersionNumbers())
    material = await download_dataset(frozen, store, tmp_path)
    assert (material.counts[Split.TRAIN], material.left_out) == (5, 0)
    assert (tmp_path / "labels" / "train" / f"{empty.sha256}.txt").read_bytes() == b""


async def test_a_holdout_of_background_samples_alone_makes_a_run_impossible(tmp_path: Path) -> None:
    store = MemoryStore()
    samples = await store_samples(store, None, test=0)
    samples.append(await store_sample(store, 50, Split.TEST, labels=""))
    frozen = await freeze("run-a", samples, store, InMemoryVersionNumbers())
    with pytest.raises(RunImpossibleError, match="there is no sample to measure on"):
        await download_dataset(frozen, store, tmp_path)


async def test_outputs_are_dense_and_follow_redirects(tmp_path: Path) -> None:
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
    material = await download_dataset(await freeze("run-a", samples, store, InMemoryVersionNumbers()), store, tmp_path)
    assert material.classes.names == ("label2", "label5")
    assert material.classes.output_of_class_id == {2: 0, 5: 1, 7: 0}
    assert (tmp_path / "labels" / "test" / f"{samples[2].sha256}.txt").read_text(encoding="utf-8").startswith("0 ")


async def test_a_class_list_without_a_label_s_class_fails_the_run_with_a_next_step(tmp_path: Path) -> None:
    store = MemoryStore()
    frozen = await freeze("run-a", await store_samples(store, None), store, InMemoryVersionNumbers())
    await store.put(CLASSES_KEY, ClassList().model_dump_json().encode())
    with pytest.raises(RunImpossibleError, match="does not contain") as refused:
        await download_dataset(frozen, store, tmp_path)
    assert refused.value.next_steps == (
        "Restore samples/classes.json from a backup: classes are never removed from it.",
    )


async def test_a_frozen_version_can_be_read_back(tmp_path: Path) -> None:
    async with open_harness(tmp_path) as harness:
        frozen = await freeze(
            "run-a", await store_samples(harness.store, harness.samples), harness.store, harness.numbers
        )
        assert await read_manifest(frozen.version, harness.store) == frozen.lines
