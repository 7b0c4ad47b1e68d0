"""`savo prepare --input s3://…` with moto, and with a folder in the layout of the object store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    IngredientClass,
    SampleMeta,
    sample_image_key,
    sample_labels_key,
    sample_meta_key,
)
from savo_contracts.samples import Split
from savo_contracts.scans import ServedBy
from savo_datasets import stored_samples
from savo_datasets.yolo_folder import read_data_yaml
from savo_runtime.storage import concurrency
from savo_runtime.storage.folder import FolderStore
from savo_runtime.storage.port import ObjectStore
from savo_runtime.storage.s3 import S3Store
from savo_trainer.commands import register
from savo_trainer.models.evaluation import split_samples
from tests.parts.addresses import free_port
from tests.parts.s3 import S3Server

app = typer.Typer()
register(app)
cli = CliRunner()

SPLITS = [Split.TRAIN] * 6 + [Split.VAL] * 2 + [Split.TEST] * 2
LABELS = "0 0.5 0.5 0.2 0.2\n2 0.4 0.4 0.1 0.1\n"


def photo(number: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 32), (number * 20 % 256, 90, 120)).save(out, "JPEG")
    return out.getvalue()


def sha256_of(number: int) -> str:
    return hashlib.sha256(photo(number)).hexdigest()


async def store_samples(store: ObjectStore, prefix: str = "") -> None:
    """Store ten samples of five people, two each. Class 1 is redirected to class 2, so it has no output."""
    classes = (
        IngredientClass(id=0, label="egg"),
        IngredientClass(id=1, label="courgette", redirects_to=2),
        IngredientClass(id=2, label="zucchini"),
    )
    await store.put(prefix + CLASSES_KEY, ClassList(classes=classes).model_dump_json().encode())
    for number, split in enumerate(SPLITS):
        sha256 = sha256_of(number)
        await store.put(prefix + sample_meta_key(sha256), meta_of(number, split).model_dump_json().encode())
        await store.put(prefix + sample_image_key(sha256, "image/jpeg"), photo(number))
        await store.put(prefix + sample_labels_key(sha256), LABELS.encode())


def meta_of(number: int, split: Split) -> SampleMeta:
    photographed = {
        "media_type": "image/jpeg",
        "width": 32,
        "height": 32,
        "perceptual_hash": f"{0xFF << number * 5:016x}"[-16:],
    }
    answered = {"served_by": ServedBy.GOOGLE, "model_version": "gemini", "boxes": (), "stored_at": datetime.now(UTC)}
    whose = {"scan_id": f"scan-{number}", "subject": f"person-{number // 2}", "anonymous": number == 0}
    return SampleMeta.model_validate({"sha256": sha256_of(number), "split": split, **whose, **photographed, **answered})


def prepare(*arguments: object) -> tuple[int, str]:
    result = cli.invoke(app, ["prepare", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def splits_of(output: Path) -> dict[str, str]:
    return {path.stem: path.parent.name for path in (output / "images").rglob("*.jpg")}


@pytest.fixture
def bucket(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in {
        "SAVO_S3_ENDPOINT_URL": moto_s3.endpoint_url,
        "R2_ACCESS_KEY_ID": moto_s3.access_key_id,
        "R2_SECRET_ACCESS_KEY": moto_s3.secret_access_key,
    }.items():
        monkeypatch.setenv(name, value)
    return moto_s3


def fill(server: S3Server, prefix: str) -> None:
    async def work() -> None:
        store = S3Store(
            endpoint_url=server.endpoint_url,
            bucket=server.bucket,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
            region="us-east-1",
        )
        await store_samples(store, prefix)
        await store.close()

    asyncio.run(work())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(store_samples(FolderStore(tmp_path / "objects")))
    return tmp_path / "objects"


@pytest.mark.s3
def test_samples_of_a_bucket_keep_the_split_of_their_collection(
    bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_samples, "PAGE", 3)
    fill(bucket, "backups/spring/")
    code, printed = prepare("--input", f"s3://{bucket.bucket}/backups/spring", "--output", tmp_path / "out", "--json")
    assert code == 0, printed
    summary = json.loads(printed[printed.index("{") :])
    assert summary["photos"] == {"train": 6, "val": 2, "test": 2}
    assert summary["boxes"] == {"train": 12, "val": 4, "test": 4}
    assert summary["classes"] == ["egg", "zucchini"]
    assert splits_of(tmp_path / "out") == {sha256_of(number): split.value for number, split in enumerate(SPLITS)}
    (first, *_) = split_samples(read_data_yaml(tmp_path / "out" / "dataset.yaml"), "test")
    assert [label for label, _ in first.truth] == ["egg", "zucchini"]
    assert first.group == "person-4"
    assert not list(tmp_path.glob(".out*")), "no temporary folder stays beside the output"


@pytest.mark.s3
def test_a_problem_with_the_bucket_is_reported_in_one_line(
    bucket: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    code, printed = prepare("--input", "s3://nowhere/x", "--output", output)
    assert (code, "R2_BUCKET_NAME='nowhere': there is no such bucket" in printed) == (1, True), printed
    code, printed = prepare("--input", f"s3://{bucket.bucket}/nothing/here", "--output", output)
    assert (code, "no nothing/here/samples/classes.json" in printed) == (1, True), printed
    assert prepare("--input", "s3://", "--output", output)[0] == 2
    monkeypatch.setenv("SAVO_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    code, printed = prepare("--input", f"s3://{bucket.bucket}/x", "--output", output)
    assert (code, "(SAVO_S3_ENDPOINT_URL) cannot be read" in printed) == (1, True), printed
    monkeypatch.delenv("R2_SECRET_ACCESS_KEY")
    code, printed = prepare("--input", f"s3://{bucket.bucket}/x", "--output", output)
    assert code == 2
    assert not output.exists()


def test_the_folder_of_savo_up_is_read_like_a_bucket(folder: Path, tmp_path: Path) -> None:
    assert prepare("--input", folder, "--output", tmp_path / "out")[0] == 0
    assert Counter(splits_of(tmp_path / "out").values()) == {"train": 6, "val": 2, "test": 2}


def test_a_new_split_keeps_a_person_in_one_split_and_anonymous_photos_in_train(folder: Path, tmp_path: Path) -> None:
    code, printed = prepare(
        "--input", folder, "--output", tmp_path / "out", "--split", 0.5, 0.25, 0.25, "--no-near-duplicates"
    )
    assert code == 0, printed
    splits = splits_of(tmp_path / "out")
    assert set(splits.values()) == {"train", "val", "test"}
    assert splits[sha256_of(0)] == splits[sha256_of(1)] == "train"
    assert all(splits[sha256_of(number)] == splits[sha256_of(number + 1)] for number in range(0, 10, 2))


def test_an_interrupted_download_is_continued_and_leaves_no_partial_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded: list[str] = []
    download = FolderStore.download
    limit = 4

    async def counted_download(self: FolderStore, key: str, path: Path) -> object:
        if len(downloaded) == limit:
            raise RuntimeError("power failure")
        downloaded.append(key)
        return await download(self, key, path)

    monkeypatch.setattr(FolderStore, "download", counted_download)
    monkeypatch.setattr(concurrency, "MAX_IN_FLIGHT", 1)  # no other download runs at the failure
    assert prepare("--input", folder, "--output", tmp_path / "out")[0] == 1
    assert not (tmp_path / "out").exists()
    limit = 100
    assert prepare("--input", folder, "--output", tmp_path / "out")[0] == 0
    assert len(downloaded) == len(set(downloaded)) == 10, "no photo is downloaded twice"


def test_a_missing_or_damaged_sample_is_left_out_with_its_reason(folder: Path, tmp_path: Path) -> None:
    (folder / sample_image_key(sha256_of(0), "image/jpeg")).unlink()
    (folder / sample_image_key(sha256_of(1), "image/jpeg")).write_bytes(photo(9))
    (folder / sample_labels_key(sha256_of(2))).write_text("tomato 0.5\n")
    code, printed = prepare("--input", folder, "--output", tmp_path / "out", "--json")
    assert code == 0, printed
    assert json.loads(printed[printed.index("{") :])["left_out"] == {
        "erased meanwhile": 1,
        "damaged: its bytes are not those of its name": 1,
        "unreadable label file or meta": 1,
    }
    assert len(splits_of(tmp_path / "out")) == 7
