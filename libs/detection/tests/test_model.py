from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.geometry import BoundingBox
from savo_detection import Detector, ModelRefusedError, UnreadablePhotoError
from savo_detection.cpus import usable_cpus

META = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]"}
APPLE_AND_EGG = [(0.0, 8.0, 32.0, 32.0, 0, 0.9), (32.0, 32.0, 64.0, 56.0, 2, 0.5), (1.0, 8.0, 33.0, 32.0, 0, 0.6), (5, 5, 9, 9, 1, 0.2)]

Draw = Callable[..., bytes]


def close(box: BoundingBox, x: float, y: float, width: float, height: float) -> bool:
    return bool(np.allclose((box.x, box.y, box.width, box.height), (x, y, width, height), atol=1e-5))


def test_a_raw_head_gives_labelled_boxes_in_fractions_of_the_photo(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    found = detector.detect(photo(64, 48))
    assert [(box.class_id, box.label, round(box.confidence, 4)) for box in found] == [(0, "apple", 0.9), (2, "egg", 0.5)]
    assert close(found[0].bbox, 0.0, 0.0, 0.5, 0.5)
    assert close(found[1].bbox, 0.5, 0.5, 0.5, 0.5)


def test_the_same_boxes_come_from_a_photo_of_any_size_and_format(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    expected = detector.detect(photo(64, 48))
    for data in (photo(1600, 1200), photo(640, 480, "PNG"), photo(320, 240, "WEBP")):
        assert detector.detect(data) == expected


def test_an_end_to_end_head_is_told_by_its_six_columns(photo: Draw) -> None:
    rows = np.asarray([[[0, 8, 32, 32, 0.9, 0], [32, 32, 64, 56, 0.5, 2], [0, 0, 0, 0, 0.0, 0]]], np.float32)
    detector = Detector.load(constant_model(rows, metadata=META | {"end2end": "True"}))
    assert detector.version_info.head == "end_to_end"
    assert [box.label for box in detector.detect(photo(64, 48))] == ["apple", "egg"]


def test_two_classes_make_six_rows_and_are_still_a_raw_head(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows([(0, 8, 32, 32, 1, 0.8)], 2), metadata=META | {"names": "['apple', 'milk']"}))
    assert detector.version_info.head == "raw"
    assert [box.label for box in detector.detect(photo(64, 48))] == ["milk"]


def test_confidence_iou_and_limit_are_the_caller_s(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    data = photo(64, 48)
    assert [box.label for box in detector.detect(data, 0.1)] == ["apple", "egg", "milk"]
    assert [box.label for box in detector.detect(data, 0.1, iou=0.99)] == ["apple", "apple", "egg", "milk"]
    assert [box.label for box in detector.detect(data, 0.1, limit=1)] == ["apple"]
    assert detector.detect(data, 0.95) == []


def test_a_box_outside_the_photo_is_clipped_and_one_with_nothing_inside_is_dropped(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows([(-20, 0, 32, 32, 0, 0.9), (0, 0, 64, 6, 1, 0.8)], 3)))
    (box,) = detector.detect(photo(64, 48))
    assert close(box.bbox, 0.0, 0.0, 0.5, 0.5)


def test_a_free_input_takes_its_size_from_the_metadata(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3), side="side", metadata=META | {"imgsz": "[96, 64]"}))
    assert detector.image_size == (96, 64)
    assert detector.detect(photo(64, 48))


def test_a_half_precision_model_answers_like_a_full_one(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3), kind=TensorProto.FLOAT16))
    assert [box.label for box in detector.detect(photo(64, 48))] == ["apple", "egg"]


def test_what_a_model_says_of_itself_is_kept() -> None:
    data = constant_model(raw_rows([], 3))
    detector = Detector.load(data, expected_sha256=hashlib.sha256(data).hexdigest(), expected_classes=NAMES)
    assert detector.classes == NAMES
    assert detector.version_info.sha256 == hashlib.sha256(data).hexdigest()
    assert detector.version_info.bytes == len(data)
    assert detector.version_info.exported_by == "8.4.0"
    detector.warm_up()


def test_many_threads_share_one_detector(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)), threads=1)
    expected = detector.detect(photo())
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(detector.detect, [photo()] * 64))


def test_a_photo_that_cannot_be_read_is_the_photo_s_fault(photo: Draw) -> None:
    with pytest.raises(UnreadablePhotoError):
        Detector.load(constant_model(raw_rows([], 3))).detect(photo()[:200])


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no ONNX model"),
        (b"not a model at all", "no ONNX model"),
        (constant_model(raw_rows([], 3))[:-300], "no ONNX model"),
        (zipped(), "zip archive.*savo models export"),
        (constant_model(raw_rows([], 3), channels=1), "one float tensor 1 × 3"),
        (constant_model(raw_rows([], 3), kind=TensorProto.DOUBLE), "one float tensor 1 × 3"),
        (constant_model(raw_rows([], 3), side=50), "multiples of 32"),
        (constant_model(raw_rows([], 3), metadata={}), "metadata names no classes"),
        (constant_model(raw_rows([], 3), metadata={"names": "__import__('os').system('true')"}), "class names cannot be read"),
        (constant_model(raw_rows([], 3), metadata={"names": "{0: 'apple', 2: 'egg'}"}), "without a gap"),
        (constant_model(raw_rows([], 3), metadata={"names": "[]"}), "class names cannot be read"),
        (constant_model(raw_rows([], 3), metadata=META | {"task": "segment"}), "task 'segment'"),
        (constant_model(raw_rows([], 3), metadata=META | {"imgsz": "large"}, side="side"), "imgsz"),
        (constant_model(raw_rows([], 4)), "output has the shape 1 × 8 × 21.*1 × 7 × N for 3 classes"),
        (constant_model(np.zeros((1, 1000))), "output has the shape 1 × 1000"),
    ],
)
def test_a_file_that_is_no_usable_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        Detector.load(data)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [(("apple", "milk"), "3 classes, expected 2"), (("apple", "cheese", "egg"), "class 1 is 'milk', expected 'cheese'")],
)
def test_a_class_list_that_does_not_fit_is_refused(expected: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        Detector.load(constant_model(raw_rows([], 3)), expected_classes=expected)


def test_other_bytes_than_those_registered_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match="sha256"):
        Detector.load(constant_model(raw_rows([], 3)), expected_sha256="0" * 64)


def test_a_checkpoint_s_path_means_the_export_beside_it_and_is_never_opened(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zipped())
    with pytest.raises(ModelRefusedError, match=r"savo models export .*best\.pt"):
        Detector.load(checkpoint)
    (tmp_path / "best.onnx").write_bytes(constant_model(raw_rows([], 3)))
    assert Detector.load(str(checkpoint)).classes == NAMES


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"absent\.onnx cannot be read"):
        Detector.load(tmp_path / "absent.onnx")


@pytest.mark.parametrize(("limit", "most"), [("max 100000", 1 << 20), ("150000 100000", 2), ("50000 100000", 1), ("100000 100000", 1)])
def test_threads_follow_the_container_s_limit(tmp_path: Path, limit: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert 1 <= usable_cpus(tmp_path) <= most


def test_the_older_kind_of_limit_counts_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == 1
