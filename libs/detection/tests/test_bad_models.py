"""Unusable model files: each is refused with the reason that the log and `models.refused` show."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from libs.detection.tests.bad_models import BAD_MODELS, FLOAT, NO_BOXES, VALID_MODEL, zip_archive
from libs.detection.tests.mutations import Edit, edits, mutated
from libs.detection.tests.tiny_models import NAMES, colour_model, exported
from savo_detection import Detector, ModelRefusedError
from savo_detection.model_metadata import Tensor, class_names, input_size

Draw = Callable[..., bytes]


@pytest.mark.parametrize(("data", "reason"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_an_unusable_model_file_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason) as caught:
        Detector.load(data)
    assert "onnxruntime_src" not in caught.value.reason, "positions in a library's source are removed"


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (("apple", "milk"), "its class list does not fit the registered one: 3 classes, expected 2"),
        (
            ("apple", "cheese", "egg"),
            "its class list does not fit the registered one: class 1 is 'milk', expected 'cheese'",
        ),
        (
            ("milk", "apple", "egg"),
            "its class list does not fit the registered one: class 0 is 'apple', expected 'milk'",
        ),
    ],
)
def test_other_classes_than_expected_are_refused(expected: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        Detector.load(VALID_MODEL, expected_classes=expected)


def test_another_file_than_the_registered_file_is_refused() -> None:
    with pytest.raises(
        ModelRefusedError,
        match=r"its sha256 is [0-9a-f]{12}…, expected 000000000000…: not the file that was registered",
    ):
        Detector.load(VALID_MODEL, expected_sha256="0" * 64)


def test_the_path_of_a_checkpoint_means_the_export_beside_it(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zip_archive("data.pkl"))
    with pytest.raises(
        ModelRefusedError,
        match=r"best\.pt is a PyTorch checkpoint, which is never loaded here; run: savo models export .*best\.pt",
    ):
        Detector.load(checkpoint)
    (tmp_path / "best.onnx").write_bytes(VALID_MODEL)
    assert Detector.load(str(checkpoint)).classes == NAMES
    (tmp_path / "best.onnx").write_bytes(zip_archive("data.pkl"))
    with pytest.raises(ModelRefusedError, match="it is a zip archive"):
        Detector.load(checkpoint)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"absent\.onnx cannot be read: No such file"):
        Detector.load(tmp_path / "absent.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelRefusedError, match=r"folder\.onnx cannot be read: Is a directory"):
        Detector.load(tmp_path / "folder.onnx")


@pytest.mark.parametrize("answer", [NO_BOXES, np.zeros((1, 5, 6), np.float32)], ids=["raw", "end to end"])
def test_a_network_that_gives_nan_for_a_photo_raises_an_error_instead_of_no_boxes(
    photo: Draw, answer: NDArray[np.float32]
) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Neg", ["mean"], ["less"]),
        helper.make_node("Sqrt", ["less"], ["no_number"]),
        helper.make_node("Add", ["no_number", "answer"], ["output0"]),
    ]
    tensors = (
        [helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", FLOAT, None)],
    )
    detector = Detector.load(
        exported(helper.make_graph(nodes, "root", *tensors, [numpy_helper.from_array(answer, "answer")]))
    )
    assert detector.detect_array(np.zeros((64, 64, 3), np.uint8)) == []
    with pytest.raises(ModelRefusedError, match="its output contains unusable numbers"):
        detector.detect(photo())


@pytest.mark.parametrize("share", [step / 60 for step in range(60)])
def test_a_truncated_file_is_refused_wherever_it_ends(share: float) -> None:
    model = colour_model()
    # Metadata comes last. A model without its last entry, the exporter's version, is still usable.
    end = model.index(b"imgsz")
    with pytest.raises(ModelRefusedError):
        Detector.load(model[: int(share * end)])


@given(st.sampled_from([VALID_MODEL, colour_model()]), edits)
@settings(deadline=None, max_examples=200)
def test_a_damaged_file_is_refused_or_still_usable(data: bytes, changes: list[Edit]) -> None:
    with suppress(ModelRefusedError):
        Detector.load(mutated(data, changes), threads=1).warm_up()


@given(st.text(), st.text())
def test_any_metadata_is_read_or_refused(names: str, size: str) -> None:
    free_sides = [Tensor("tensor(float)", [1, 3, "height", "width"])]
    for metadata in (
        {"names": names, "imgsz": size},
        {"names": f"{{0: {names}, 1: {size}}}", "imgsz": f"[{names}, {size}]"},
    ):
        with suppress(ModelRefusedError):
            assert class_names(metadata, None)
        with suppress(ModelRefusedError):
            assert all(32 <= side <= 4096 for side in input_size(free_sides, metadata))
