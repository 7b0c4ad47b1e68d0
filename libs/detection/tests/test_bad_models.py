"""What is no usable detection model is refused, in words that a person reads in the log and in `models.refused`."""

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

from libs.detection.tests.bad_models import BAD_MODELS, FLOAT, NOTHING, WHOLE, zipped
from libs.detection.tests.mutations import Edit, edits, mutated
from libs.detection.tests.tiny_models import NAMES, colour_model, exported
from savo_detection import Detector, ModelRefusedError
from savo_detection.model_metadata import Tensor, class_names, input_size

Draw = Callable[..., bytes]


@pytest.mark.parametrize(("data", "reason"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_file_that_is_no_usable_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason) as refused:
        Detector.load(data)
    assert "onnxruntime_src" not in refused.value.reason, "a place in somebody's source tells a person nothing"


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
def test_a_class_list_that_does_not_fit_is_refused(expected: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        Detector.load(WHOLE, expected_classes=expected)


def test_other_bytes_than_those_registered_are_refused() -> None:
    with pytest.raises(
        ModelRefusedError,
        match=r"its sha256 is [0-9a-f]{12}…, expected 000000000000…: not the file that was registered",
    ):
        Detector.load(WHOLE, expected_sha256="0" * 64)


def test_a_checkpoint_s_path_means_the_export_beside_it_and_is_never_opened(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zipped("data.pkl"))
    with pytest.raises(
        ModelRefusedError,
        match=r"best\.pt is a PyTorch checkpoint, which is never loaded here; run: savo models export .*best\.pt",
    ):
        Detector.load(checkpoint)
    (tmp_path / "best.onnx").write_bytes(WHOLE)
    assert Detector.load(str(checkpoint)).classes == NAMES
    (tmp_path / "best.onnx").write_bytes(zipped("data.pkl"))
    with pytest.raises(ModelRefusedError, match="it is a zip archive"):
        Detector.load(checkpoint)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"absent\.onnx cannot be read: No such file"):
        Detector.load(tmp_path / "absent.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelRefusedError, match=r"folder\.onnx cannot be read: Is a directory"):
        Detector.load(tmp_path / "folder.onnx")


@pytest.mark.parametrize("answer", [NOTHING, np.zeros((1, 5, 6), np.float32)], ids=["raw", "end to end"])
def test_a_network_that_fails_on_some_photos_only_says_so_and_does_not_answer_with_no_boxes(
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
    with pytest.raises(ModelRefusedError, match="its output is not made of usable numbers"):
        detector.detect(photo())


@pytest.mark.parametrize("share", [step / 60 for step in range(60)])
def test_wherever_a_file_was_cut_it_is_refused(share: float) -> None:
    whole = colour_model()
    # What comes last is the metadata: without the last line of it, the exporter's version, a model is still one.
    end = whole.index(b"imgsz")
    with pytest.raises(ModelRefusedError):
        Detector.load(whole[: int(share * end)])


@given(st.sampled_from([WHOLE, colour_model()]), edits)
@settings(deadline=None, max_examples=200)
def test_a_damaged_file_is_refused_or_still_a_model_but_never_an_accident(data: bytes, changes: list[Edit]) -> None:
    with suppress(ModelRefusedError):
        Detector.load(mutated(data, changes), threads=1).warm_up()


@given(st.text(), st.text())
def test_whatever_the_metadata_holds_is_read_or_refused(names: str, size: str) -> None:
    for facts in (
        {"names": names, "imgsz": size},
        {"names": f"{{0: {names}, 1: {size}}}", "imgsz": f"[{names}, {size}]"},
    ):
        with suppress(ModelRefusedError):
            assert class_names(facts, None)
        with suppress(ModelRefusedError):
            assert all(
                32 <= side <= 4096 for side in input_size([Tensor("tensor(float)", [1, 3, "height", "width"])], facts)
            )
