"""What `savo export` writes is loaded by ultralytics, pycocotools and supervision without a warning."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import supervision
from pycocotools.coco import COCO

from savo_datasets.archives import unpack
from tests.exports.products import Product, label_line, running_product, write_photo

PHOTOS = 12

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
async def product(tmp_path: Path) -> AsyncIterator[Product]:
    """A product with a photo of a box of each class in each group."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "classes.txt").write_text("tomato\negg\n")
    for number in range(PHOTOS):
        write_photo(data, f"{'abcdefghijklmnop'[number]}x", label_line(0, number) + label_line(1, number + 1), number)
    async with running_product() as product:
        await product.run_import(data)
        yield product


async def exported(product: Product, form: str, folder: Path) -> Path:
    answer = await product.gateway.http.get("/training/export", params={"format": form})
    archive = folder / f"{form}.tar.gz"
    archive.write_bytes(answer.content)
    return unpack(archive, folder / form).folder


async def test_pycocotools_and_supervision_load_coco(product: Product, tmp_path: Path) -> None:
    folder = await exported(product, "coco", tmp_path)
    images = annotations = 0
    for file in sorted((folder / "annotations").iterdir()):
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(file))
        images, annotations = images + len(coco.imgs), annotations + len(coco.anns)
        assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == {"tomato", "egg"}
        loaded = supervision.DetectionDataset.from_coco(str(folder / "images"), str(file))
        assert len(loaded) == len(coco.imgs)
        assert sum(len(detections) for _, _, detections in loaded) == len(coco.anns)
    assert (images, annotations) == (PHOTOS, 2 * PHOTOS)


async def test_supervision_loads_yolo_and_pascal_voc(product: Product, tmp_path: Path) -> None:
    folder = await exported(product, "yolo", tmp_path)
    yolo = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "dataset.yaml")
    )
    folder = await exported(product, "voc", tmp_path)
    voc = supervision.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    for loaded in (yolo, voc):
        assert len(loaded) == PHOTOS
        assert sum(len(detections) for _, _, detections in loaded) == 2 * PHOTOS
        assert set(loaded.classes) == {"tomato", "egg"}


@pytest.mark.torch
@pytest.mark.parametrize("form", ["yolo", "coco"])
async def test_ultralytics_loads_the_splits(
    product: Product, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false"), ("YOLO_CONFIG_DIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    from ultralytics.data import utils
    from ultralytics.data.dataset import YOLODataset

    monkeypatch.setattr(utils, "check_font", lambda _font: None)  # it would be downloaded

    folder = await exported(product, form, tmp_path)
    data = utils.check_det_dataset(str(folder / "dataset.yaml"), autodownload=False)
    assert data["names"] == {0: "tomato", 1: "egg"}
    lists = {str(data[split]) for split in ("train", "val", "test") if data.get(split)}
    photos = boxes = 0
    for path in lists:
        loaded = YOLODataset(img_path=path, data=data, task="detect", augment=False, cache=False)
        photos += len(loaded)
        boxes += sum(len(label["cls"]) for label in loaded.labels)
    assert (photos, boxes) == (PHOTOS, 2 * PHOTOS)
