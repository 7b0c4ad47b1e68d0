"""`savo dataset freeze`, `list`, `diff`, `checkout` and `rm` on the folder store and the database of `savo up`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from savo_contracts.documents import CLASSES_KEY, sample_image_key, sample_labels_key
from savo_contracts.samples import Split
from savo_datasets.audit.folds import fold_of_samples
from savo_runtime.database import Database
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.folder import FolderStore
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.command_line.dataset.sources import opened
from savo_trainer.commands import register
from savo_trainer.ports import IndexedSample
from services.trainer.tests.trainer_fakes import NOON, class_list

app = typer.Typer()
register(app)
cli = CliRunner()

SPLITS = [Split.TRAIN] * 3 + [Split.TEST]


def photo(number: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), (number * 20, 90, 120)).save(out, "JPEG")
    return out.getvalue()


def labels_key(number: int) -> str:
    return sample_labels_key(hashlib.sha256(photo(number)).hexdigest())


@pytest.fixture
def product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """The object store of a product with four samples in its trainer's database."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    store = FolderStore(tmp_path / "data" / "objects")
    asyncio.run(collect(store, RuntimeSettings(data_dir=tmp_path / "data")))
    return store


async def collect(store: FolderStore, settings: RuntimeSettings) -> None:
    database = Database.open(settings, "trainer")
    await migrate(database, "savo_trainer.migrations")
    await store.put(CLASSES_KEY, class_list().model_dump_json().encode())
    for number, split in enumerate(SPLITS):
        sha256 = hashlib.sha256(photo(number)).hexdigest()
        image_key = sample_image_key(sha256, "image/jpeg")
        await store.put(image_key, photo(number))
        await store.put(labels_key(number), b"0 0.5 0.5 0.2 0.2\n")
        sample = IndexedSample(
            sha256, "ingredients", split, "person", image_key, labels_key(number), 1, {"tomato": 1}, NOON
        )
        await DatabaseSamples(database).record(sample)
    await database.close()


def run(*arguments: object, code: int = 0) -> str:
    result = cli.invoke(app, ["dataset", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def run_json(*arguments: object) -> Any:
    printed = run(*arguments, "--json")
    return json.loads(printed[printed.index("{") :])


def test_versions_are_frozen_listed_compared_checked_out_and_removed(product: FolderStore, tmp_path: Path) -> None:
    first = run_json("freeze", "--reason", "before the correction", "--by", "mia")
    assert (first["version"], first["samples"]) == ("ds-000001", {"train": 3, "val": 0, "test": 1})
    asyncio.run(product.put(labels_key(1), b"0 0.2 0.2 0.2 0.2\n1 0.6 0.6 0.2 0.2\n"))
    assert "ds-000002: train 3, val 0, test 1" in run("freeze")
    listed = run_json("list")["versions"]
    assert [entry["version"] for entry in listed] == ["ds-000001", "ds-000002"]
    assert (listed[0]["by"], listed[0]["reason"]) == ("mia", "before the correction")
    assert "before the correction" in run("list")

    printed = run("diff", "ds-000001", "ds-000002", "--html", "--output", tmp_path / "diff")
    assert "ds-000001 → ds-000002: same 3, added 0, removed 0, relabelled 1, moved 0" in printed
    page = (tmp_path / "diff" / "index.html").read_text(encoding="utf-8")
    (picture,) = (tmp_path / "diff" / "pictures").iterdir()
    assert f'src="pictures/{picture.name}"' in page
    with Image.open(picture) as drawn:
        assert drawn.width > 2 * 64

    assert page.count(f'src="pictures/{picture.name}"') == 2, "its halves are above each other on a phone"
    assert "code,figcaption{overflow-wrap:anywhere}" in page, "a hash does not widen the page of a phone"
    assert "<td>split changed</td><td>0</td>" in page
    assert "ds-000001 left or above" in page
    assert "gained: banana<" in page, "a label has no confidence"

    run("checkout", "ds-000001", "--output", tmp_path / "out")
    (corrected,) = (tmp_path / "out" / "labels").rglob(f"{Path(labels_key(1)).name}")
    assert corrected.read_bytes() == b"0 0.5 0.5 0.2 0.2\n"
    assert (tmp_path / "out" / "dataset.yaml").exists()
    assert "is not empty" in run("checkout", "ds-000001", "--output", tmp_path / "out", code=1)

    detections = tmp_path / "detections.jsonl"
    detections.write_text(
        "".join(
            json.dumps({"photo": f"train/{Path(labels_key(number)).stem}.jpg", "boxes": []}) + "\n"
            for number in range(3)
        )
    )
    for _ in range(2):
        audited = run_json("audit", "ds-000001", "--predictions", detections, "--output", tmp_path / "audit")
        assert (audited["photos"], audited["boxes"], audited["without_detections"]) == (3, 3, 1)

    assert "ds-000002 is removed; 1 label files were of this version alone" in run("rm", "ds-000002")
    assert [entry["version"] for entry in run_json("list")["versions"]] == ["ds-000001"]
    assert "there is no data set version ds-000002" in run("rm", "ds-000002", code=1)


def test_photos_of_a_person_stay_in_one_fold_of_a_version(product: FolderStore, tmp_path: Path) -> None:
    run("freeze")
    run("checkout", "ds-000001", "--output", tmp_path / "out")
    samples = list(opened(str(tmp_path / "out")).samples)
    assert [sample.group for sample in samples] == ["person"] * len(SPLITS)
    assert len(set(fold_of_samples(samples, 2))) == 1
    refused = run("audit", "ds-000001", "--folds", 2, "--output", tmp_path / "audit", code=1)
    assert "the photos are of fewer than 2 groups" in " ".join(refused.split())


def test_without_a_product_the_commands_name_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    assert "no version is frozen yet: `savo dataset freeze`" in run("list")
    assert "start the product once with `savo up`" in run("freeze", code=1)
