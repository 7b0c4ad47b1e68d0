"""Detector: boxes, model metadata, threads and scaled decoding."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from onnx import TensorProto
from onnxruntime import InferenceSession

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.geometry import BoundingBox
from savo_detection import Detector, UnreadablePhotoError
from savo_detection.engines.backends import ONNX_RUNTIME, OnnxRuntimeEngine
from savo_detection.engines.cpus import _NICENESS, lower_thread_priority, run_at_normal_priority, usable_cpus
from savo_detection.engines.selection import Engines
from savo_detection.engines.thread_budget import PerThreadCount, threads_per_pass

META = {"names": str(dict(enumerate(NAMES))), "task": "detect", "imgsz": "[64, 64]"}
APPLE_AND_EGG = [
    (0.0, 8.0, 32.0, 32.0, 0, 0.9),
    (32.0, 32.0, 64.0, 56.0, 2, 0.5),
    (1.0, 8.0, 33.0, 32.0, 0, 0.6),
    (5, 5, 9, 9, 1, 0.2),
]

Draw = Callable[..., bytes]


def close(box: BoundingBox, x: float, y: float, width: float, height: float) -> bool:
    return bool(np.allclose((box.x, box.y, box.width, box.height), (x, y, width, height), atol=1e-5))


def threads_of(engine: OnnxRuntimeEngine, passes: int) -> int:
    return int(engine.session_for(passes).get_session_options().intra_op_num_threads)


def test_the_raw_layout_gives_labelled_boxes_in_fractions_of_the_photo(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    found = detector.detect(photo(64, 48))
    assert [(box.class_id, box.label, round(box.confidence, 4)) for box in found] == [
        (0, "apple", 0.9),
        (2, "egg", 0.5),
    ]
    assert close(found[0].bbox, 0.0, 0.0, 0.5, 0.5)
    assert close(found[1].bbox, 0.5, 0.5, 0.5, 0.5)


def test_a_photo_has_the_same_boxes_in_any_size_and_format(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    expected = detector.detect(photo(64, 48))
    for data in (photo(1600, 1200), photo(640, 480, "PNG"), photo(320, 240, "WEBP")):
        assert detector.detect(data) == expected


def test_the_end_to_end_layout_is_recognised_by_its_six_columns(photo: Draw) -> None:
    rows = np.asarray([[[0, 8, 32, 32, 0.9, 0], [32, 32, 64, 56, 0.5, 2], [0, 0, 0, 0, 0.0, 0]]], np.float32)
    detector = Detector.load(constant_model(rows, metadata=META | {"end2end": "True"}))
    assert detector.version_info.output_layout == "end_to_end"
    assert [box.label for box in detector.detect(photo(64, 48))] == ["apple", "egg"]


def test_the_raw_layout_with_two_classes_is_not_taken_for_end_to_end(photo: Draw) -> None:
    detector = Detector.load(
        constant_model(raw_rows([(0, 8, 32, 32, 1, 0.8)], 2), metadata=META | {"names": "['apple', 'milk']"})
    )
    assert detector.version_info.output_layout == "raw"
    assert [box.label for box in detector.detect(photo(64, 48))] == ["milk"]


def test_the_caller_sets_confidence_iou_and_limit(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3)))
    data = photo(64, 48)
    assert [box.label for box in detector.detect(data, 0.1)] == ["apple", "egg", "milk"]
    assert [box.label for box in detector.detect(data, 0.1, iou=0.99)] == ["apple", "apple", "egg", "milk"]
    assert [box.label for box in detector.detect(data, 0.1, limit=1)] == ["apple"]
    assert detector.detect(data, 0.95) == []


def test_boxes_are_clipped_to_the_photo_and_dropped_without_area_inside(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows([(-20, 0, 32, 32, 0, 0.9), (0, 0, 64, 6, 1, 0.8)], 3)))
    (box,) = detector.detect(photo(64, 48))
    assert close(box.bbox, 0.0, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_free_input_takes_its_size_from_the_metadata(photo: Draw, batch: int | str) -> None:
    model = constant_model(
        raw_rows(APPLE_AND_EGG, 3), side=("height", "width"), batch=batch, metadata=META | {"imgsz": "[96, 64]"}
    )
    detector = Detector.load(model)
    assert detector.image_size == (96, 64)
    assert detector.detect(photo(64, 48))


def test_boxes_of_a_rectangular_network_are_mapped_to_the_photo(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows([(32, 32, 96, 64, 0, 0.9)], 3), side=(64, 128)))
    assert detector.image_size == (64, 128)
    (in_wide,), (in_square,) = detector.detect(photo(256, 128)), detector.detect(photo(100, 100))
    assert close(in_wide.bbox, 0.25, 0.5, 0.5, 0.5)
    assert close(in_square.bbox, 0.0, 0.5, 1.0, 0.5), "a square photo is in the middle of the input, from 32 to 96"


def test_a_half_precision_model_finds_the_same_boxes(photo: Draw) -> None:
    detector = Detector.load(constant_model(raw_rows(APPLE_AND_EGG, 3), kind=TensorProto.FLOAT16))
    assert [box.label for box in detector.detect(photo(64, 48))] == ["apple", "egg"]


def test_the_metadata_of_a_model_is_available() -> None:
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


def test_an_unreadable_photo_raises_a_photo_error(photo: Draw) -> None:
    with pytest.raises(UnreadablePhotoError):
        Detector.load(constant_model(raw_rows([], 3))).detect(photo()[:200])


@pytest.mark.parametrize(
    ("limit", "maximum"), [("max 100000", 1 << 20), ("150000 100000", 2), ("50000 100000", 1), ("100000 100000", 1)]
)
def test_the_number_of_cores_follows_the_containers_quota(tmp_path: Path, limit: str, maximum: int) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert 1 <= usable_cpus(tmp_path) <= maximum


def test_the_engine_gets_as_many_threads_as_the_container_has_cores() -> None:
    given: list[int] = []

    def build(data: bytes, threads: int, _shape: tuple[int, ...]) -> OnnxRuntimeEngine:
        given.append(threads)
        return OnnxRuntimeEngine(data, threads)

    engines = Engines("openvino", (ONNX_RUNTIME, "openvino"), {"openvino": build})
    model = constant_model(raw_rows([], 3))
    Detector.load(model, engines=engines)
    Detector.load(model, engines=engines, threads=3)
    assert given == [usable_cpus(), 3]


def test_concurrent_passes_share_the_threads() -> None:
    engine = OnnxRuntimeEngine(constant_model(raw_rows([], 3)), 6)
    assert [threads_of(engine, passes) for passes in (1, 2, 3, 4, 5, 12)] == [6, 2, 2, 1, 1, 1]
    assert engine.session_for(2) is engine.session_for(3), "sessions with the same number of threads are shared"


def test_sessions_for_all_numbers_of_passes_can_be_created_in_advance() -> None:
    created: list[int] = []

    def create(threads: int) -> int:
        created.append(threads)
        return threads

    sessions = PerThreadCount[int]()
    sessions.create_all(6, create)
    assert created == [6, 2, 1]
    assert [sessions.get(threads_per_pass(6, passes), create) for passes in range(1, 9)] == [6, 2, 2, 1, 1, 1, 1, 1]
    assert len(created) == 3, "passes create no session"


def test_warming_up_creates_all_sessions() -> None:
    calls: list[str] = []

    class RecordingEngine(OnnxRuntimeEngine):
        def __init__(self, data: bytes, threads: int, _shape: tuple[int, ...]) -> None:
            super().__init__(data, threads)

        def open_all(self) -> None:
            calls.append("open_all")
            super().open_all()

    engines = Engines("openvino", (ONNX_RUNTIME, "openvino"), {"openvino": RecordingEngine})
    Detector.load(constant_model(raw_rows([], 3)), engines=engines, threads=3).warm_up()
    assert calls == ["open_all"]


def test_running_passes_of_all_networks_are_counted() -> None:
    class RecordingEngine(OnnxRuntimeEngine):
        counts: ClassVar[list[int]] = []
        neighbour: OnnxRuntimeEngine | None = None

        def session_for(self, passes: int) -> InferenceSession:
            self.counts.append(passes)
            if self.neighbour:
                self.neighbour.run(blank, lambda _: None)
            return super().session_for(passes)

    model, blank = constant_model(raw_rows([], 3)), np.zeros((1, 3, 64, 64), np.float32)
    engine = RecordingEngine(model, 2)
    engine.neighbour = RecordingEngine(model, 2)
    RecordingEngine.counts.clear()
    engine.run(blank, lambda _: None)
    engine.run(blank, lambda _: None)
    assert RecordingEngine.counts == [1, 2, 1, 2]


def test_a_thread_of_lower_priority_uses_one_core_and_can_run_code_at_normal_priority() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def measure() -> tuple[int, int, int, int]:
        engine = OnnxRuntimeEngine(constant_model(raw_rows([], 3)), 6)
        return (
            niceness(),
            run_at_normal_priority(niceness),
            threads_of(engine, 1),
            run_at_normal_priority(lambda: threads_of(engine, 1)),
        )

    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as loader:
        lowered, normal, own_threads, normal_threads = loader.submit(measure).result()
    assert normal == niceness() == run_at_normal_priority(niceness)
    assert lowered == max(_NICENESS, normal), "a higher niceness is kept"
    assert (own_threads, normal_threads) == (1, 6)


def test_threads_do_not_spin_after_a_pass() -> None:
    session = OnnxRuntimeEngine(constant_model(raw_rows([], 3)), 2).session
    assert session.get_session_options().get_session_config_entry("session.force_spinning_stop") == "1"


def test_the_quota_of_cgroup_v1_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == 1


@pytest.mark.parametrize(("width", "decoded"), [(4032, 1008), (3264, 1632), (1919, 1919), (640, 640)])
def test_a_photo_is_decoded_at_a_smaller_scale_with_headroom(photo: Draw, width: int, decoded: int) -> None:
    detector = Detector.load(constant_model(raw_rows([], 3), side=640))
    assert detector.decode(photo(width, 480)).shape[1] == decoded
