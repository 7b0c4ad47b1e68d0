"""Files that are no usable detection model: each is refused, in words that a person reads in the log and in `models.refused`."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from libs.detection.tests.mutations import Edit, edits, mutated
from libs.detection.tests.tiny_models import METADATA, NAMES, colour_model, constant_model, exported, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.metadata import Tensor, class_names, input_size

Draw = Callable[..., bytes]

FLOAT = TensorProto.FLOAT
NOTHING = raw_rows([], len(NAMES))
WHOLE = constant_model(NOTHING)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"cos\nsystem\n(S'true'\ntR.")
    return buffer.getvalue()


def one_step(step: str, *, dims: tuple[int, ...] = (1, 3, 64, 64), kind: int = FLOAT, gives: int = FLOAT, **attributes: Any) -> bytes:
    """A network of one node."""
    node = helper.make_node(step, ["images"], ["output0"], **attributes)
    tensors = [helper.make_tensor_value_info("images", kind, dims)], [helper.make_tensor_value_info("output0", gives, None)]
    return exported(helper.make_graph([node], "step", *tensors))


def sequence_model() -> bytes:
    node, image = helper.make_node("SequenceConstruct", ["images"], ["output0"]), helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])
    return exported(helper.make_graph([node], "list", [image], [helper.make_tensor_sequence_value_info("output0", FLOAT, None)]))


def blind_model() -> bytes:
    node = helper.make_node("Constant", [], ["output0"], value=numpy_helper.from_array(NOTHING))
    return exported(helper.make_graph([node], "blind", [], [helper.make_tensor_value_info("output0", FLOAT, None)]))


def weights_elsewhere() -> bytes:
    tensor = TensorProto(name="weights", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    node, image = helper.make_node("Identity", ["weights"], ["output0"]), helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])
    return exported(helper.make_graph([node], "apart", [image], [helper.make_tensor_value_info("output0", FLOAT, None)], [tensor]))


def with_metadata(**changes: str) -> bytes:
    return constant_model(NOTHING, metadata=METADATA | changes)


def with_bytes(old: bytes, new: bytes) -> bytes:
    assert old in WHOLE
    return WHOLE.replace(old, new)


NO_ONNX = "it is no ONNX model that can be loaded: it is cut short, damaged, or of another kind"

FILES = {
    "nothing": (b"", "it is empty"),
    "text": (b"not a model at all", NO_ONNX),
    "a page of HTML": (b"<!doctype html><title>404</title>", NO_ONNX),
    "a pointer to a large file": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", NO_ONNX),
    "a pickle": (pickle.dumps({"model": None}), NO_ONNX),
    "a zip": (zipped("data.pkl"), r"it is a zip archive \(a PyTorch checkpoint, perhaps\), no ONNX model; run: savo models export FILE\.pt"),
    "an empty zip": (zipped(), "it is a zip archive"),
    "cut short": (WHOLE[:-300], NO_ONNX),
    "damaged inside": (with_bytes(b"ReduceMean", b"ReduceMess"), "no ONNX model that can be loaded: .*ReduceMess"),
    "damaged text": (with_bytes(b"images", b"\xff\xfe\xfd\xfc\xfb\xfa"), "bytes among its names that are no text|can't decode byte"),
    "weights in another file": (weights_elsewhere(), "weights"),
}

INPUTS = {
    "none": (blind_model(), "its input is missing; one float tensor 1 × 3 × height × width is wanted"),
    "no batch axis": (one_step("Identity", dims=(3, 64, 64)), r"its input is tensor\(float\) \[3, 64, 64\]; one float tensor"),
    "five axes": (one_step("Identity", dims=(1, 3, 1, 64, 64)), r"its input is tensor\(float\) \[1, 3, 1, 64, 64\]; one float tensor"),
    "channels last": (one_step("Identity", dims=(1, 64, 64, 3)), r"\[1, 64, 64, 3\]; one float tensor 1 × 3 × height × width"),
    "grey": (constant_model(NOTHING, channels=1), r"\[1, 1, 64, 64\]; one float tensor 1 × 3"),
    "bytes": (one_step("Cast", kind=TensorProto.UINT8, to=FLOAT), r"its input is tensor\(uint8\)"),
    "doubles": (constant_model(NOTHING, kind=TensorProto.DOUBLE), r"its input is tensor\(double\)"),
    "a batch of 8": (constant_model(NOTHING, batch=8), "it takes batches of 8 only; export it with batch 1"),
    "no stride": (constant_model(NOTHING, side=(64, 50)), "its input is 64 × 50 pixels; both must be multiples of 32, up to 4096"),
    "giant": (constant_model(NOTHING, side=2**31), "its input is 2147483648 × 2147483648 pixels; both must be multiples of 32, up to 4096"),
    "free and giant": (constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "[320000, 320000]"}), "its input is 320000 × 320000 pixels"),
}

METADATA_FLAWS = {
    "none": (constant_model(NOTHING, metadata={}), "its metadata names no classes; export it with: savo models export"),
    "code": (with_metadata(names="__import__('os').system('true')"), r"its class names cannot be read: \"__import__"),
    "a gap": (with_metadata(names="{0: 'apple', 2: 'egg'}"), "its class ids are not 0, 1, 2, … without a gap"),
    "ids of two kinds": (with_metadata(names="{0: 'apple', 'b': 'egg'}"), "its class ids are not 0, 1, 2, … without a gap"),
    "an id that can be none": (with_metadata(names="{[]: 'apple'}"), "its class names cannot be read"),
    "no names": (with_metadata(names="[]"), "its class names cannot be read"),
    "names in lists": (with_metadata(names="[['apple'], ['milk'], ['egg']]"), "its class names cannot be read"),
    "a size in words": (constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "large"}), "its metadata's imgsz cannot be read: 'large'"),
    "a size without end": (constant_model(NOTHING, side="side", metadata=METADATA | {"imgsz": "[1e999, 64]"}), "its metadata's imgsz cannot be read"),
    "one class more": (
        constant_model(raw_rows([], 4)),
        "its output has the shape 1 × 8 × 21; a detection model gives 1 × 7 × N for 3 classes, or 1 × N × 6 end to end",
    ),
}

OTHER_TASKS = {
    "segmentation that says so": (with_metadata(task="segment"), "it was made for the task 'segment'; detection needs 'detect'"),
    "pose that says so": (with_metadata(task="pose"), "it was made for the task 'pose'"),
    "classification that says so": (with_metadata(task="classify"), "it was made for the task 'classify'"),
    "segmentation": (constant_model(np.zeros((1, 4 + 3 + 32, 21))), "its output has the shape 1 × 39 × 21; a detection model gives 1 × 7 × N"),
    "pose": (constant_model(np.zeros((1, 56, 21))), "its output has the shape 1 × 56 × 21"),
    "classification": (constant_model(np.zeros((1, 1000))), "its output has the shape 1 × 1000"),
    "turned boxes": (constant_model(np.zeros((1, 8, 21))), "its output has the shape 1 × 8 × 21"),
    "an older head": (constant_model(np.zeros((1, 21, 8))), "its output has the shape 1 × 21 × 8"),
    "an older head of one class": (
        constant_model(np.full((1, 21, 6), 0.4), metadata=METADATA | {"names": "['egg']"}),
        r"its sixth column holds no class ids \(0 to 0\): it is no end-to-end model, or of other classes",
    ),
    "one number": (one_step("ReduceMean", keepdims=0), "its output has the shape of a single number"),
    "whole numbers": (one_step("Shape", gives=TensorProto.INT64), r"its output is tensor\(int64\) .*; one float tensor is wanted"),
    "a list": (sequence_model(), r"its output is seq\(tensor\(float\)\)"),
}

BROKEN_WEIGHTS = {
    "NaN": (constant_model(np.full((1, 7, 21), np.nan)), "its output is not made of usable numbers: there are NaN, infinite or absurdly large values in it"),
    "infinite": (constant_model(np.full((1, 7, 21), np.inf)), "its output is not made of usable numbers"),
    "NaN end to end": (constant_model(np.full((1, 5, 6), np.nan)), "its output is not made of usable numbers"),
    "no sigmoid": (constant_model(np.full((1, 7, 21), 5.0)), "its scores lie between 0.00 and 5.00 on an empty picture; a detection model gives 0 to 1"),
    "logits": (constant_model(np.full((1, 7, 21), -7.0)), "its scores lie between -7.00 and 0.00 on an empty picture"),
    "it fails": (one_step("Reshape"), "no ONNX model that can be loaded"),
}


GROUPS = {"file": FILES, "input": INPUTS, "metadata": METADATA_FLAWS, "task": OTHER_TASKS, "weights": BROKEN_WEIGHTS}


@pytest.mark.parametrize(("data", "reason"), [pytest.param(*case, id=f"{group}: {name}") for group, cases in GROUPS.items() for name, case in cases.items()])
def test_a_file_that_is_no_usable_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason) as refused:
        Detector.load(data)
    assert "onnxruntime_src" not in refused.value.reason, "a place in somebody's source tells a person nothing"


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (("apple", "milk"), "its class list does not fit the registered one: 3 classes, expected 2"),
        (("apple", "cheese", "egg"), "its class list does not fit the registered one: class 1 is 'milk', expected 'cheese'"),
        (("milk", "apple", "egg"), "its class list does not fit the registered one: class 0 is 'apple', expected 'milk'"),
    ],
)
def test_a_class_list_that_does_not_fit_is_refused(expected: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        Detector.load(WHOLE, expected_classes=expected)


def test_other_bytes_than_those_registered_are_refused() -> None:
    with pytest.raises(ModelRefusedError, match=r"its sha256 is [0-9a-f]{12}…, expected 000000000000…: not the file that was registered"):
        Detector.load(WHOLE, expected_sha256="0" * 64)


def test_a_checkpoint_s_path_means_the_export_beside_it_and_is_never_opened(tmp_path: Path) -> None:
    checkpoint = tmp_path / "best.pt"
    checkpoint.write_bytes(zipped("data.pkl"))
    with pytest.raises(ModelRefusedError, match=r"best\.pt is a PyTorch checkpoint, which is never loaded here; run: savo models export .*best\.pt"):
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
def test_a_network_that_fails_on_some_photos_only_says_so_and_does_not_answer_with_no_boxes(photo: Draw, answer: NDArray[np.float32]) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Neg", ["mean"], ["less"]),
        helper.make_node("Sqrt", ["less"], ["no_number"]),
        helper.make_node("Add", ["no_number", "answer"], ["output0"]),
    ]
    tensors = [helper.make_tensor_value_info("images", FLOAT, [1, 3, 64, 64])], [helper.make_tensor_value_info("output0", FLOAT, None)]
    detector = Detector.load(exported(helper.make_graph(nodes, "root", *tensors, [numpy_helper.from_array(answer, "answer")])))
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
    for facts in ({"names": names, "imgsz": size}, {"names": f"{{0: {names}, 1: {size}}}", "imgsz": f"[{names}, {size}]"}):
        with suppress(ModelRefusedError):
            assert class_names(facts, None)
        with suppress(ModelRefusedError):
            assert all(32 <= side <= 4096 for side in input_size([Tensor("tensor(float)", [1, 3, "height", "width"])], facts))
