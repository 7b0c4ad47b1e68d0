"""Optimisation of a model's graph: the result is used only if it finds the same boxes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from libs.detection.tests.test_graph_optimizations import operators
from libs.detection.tests.tiny_models import NAMES, constant_model, model_to_optimize, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.engines.parity import synthetic_picture
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.model_optimization import optimize, optimize_file


def model_finding(x: float, score: float = 0.9) -> bytes:
    """A model that finds a box with its left edge at `x` pixels."""
    return constant_model(raw_rows([(x, 8.0, x + 32, 32.0, 0, score)], len(NAMES)))


FILE = model_finding(0)
"""A model with nothing to optimise."""
PLAIN = model_to_optimize(raw_rows([(0.0, 0.0, 32.0, 64.0, 1, 0.9)], len(NAMES)))
SHA256 = hashlib.sha256(PLAIN).hexdigest()


def test_an_optimised_model_finds_the_same_boxes_and_has_the_hash_of_its_plain_export() -> None:
    optimized = optimize(PLAIN)
    assert (optimized.plain_sha256, optimized.reason, optimized.failed) == (SHA256, None, False)
    assert (operators(PLAIN)["Split"], operators(optimized.data)["Split"]) == (1, 0)
    plain, detector = Detector.load(PLAIN), Detector.load(optimized.data)
    assert (plain.version_info.plain_sha256, detector.version_info.plain_sha256) == ("", SHA256)
    assert [box.label for box in detector.detect_array(synthetic_picture(64, 64))] == [NAMES[1]]
    assert detector.detect_array(synthetic_picture(64, 64)) == plain.detect_array(synthetic_picture(64, 64))


def test_inputs_outputs_and_metadata_are_kept_and_the_hash_of_the_plain_export_is_added() -> None:
    before, after = (onnx.load_model_from_string(data) for data in (PLAIN, optimize(PLAIN).data))
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    metadata = {entry.key: entry.value for entry in after.metadata_props}
    assert metadata == {**{entry.key: entry.value for entry in before.metadata_props}, PLAIN_SHA256: SHA256}


def test_optimising_is_deterministic_and_a_second_time_changes_nothing() -> None:
    optimized = optimize(PLAIN)
    assert optimize(PLAIN).data == optimized.data
    assert optimize(optimized.data) == optimized


def test_a_graph_with_nothing_to_optimise_is_unchanged() -> None:
    result = optimize(FILE)
    assert (result.data, result.plain_sha256, result.failed) == (FILE, None, False)
    assert result.reason == "its graph holds nothing that could be optimised"


def refusal(rewrite: Callable[[bytes], bytes], file: bytes = FILE) -> str | None:
    """Why the result of `rewrite` is not used; None when it is used."""
    result = optimize(file, rewrite)
    assert (result.data == file) == (result.plain_sha256 is None) == result.failed == (result.reason is not None)
    return result.reason


def test_a_graph_that_finds_the_same_boxes_is_used() -> None:
    assert refusal(lambda data: data + onnx.ModelProto(doc_string="shorter").SerializeToString()) is None


@pytest.mark.parametrize("other", [model_finding(20), model_finding(0.5), model_finding(0, 0.898)])
def test_a_graph_that_finds_other_boxes_is_not_used(other: bytes) -> None:
    assert refusal(lambda _data: other) == "its optimised graph finds other boxes"


def test_a_graph_is_not_used_when_the_network_finds_no_box_to_compare() -> None:
    reason = "it finds no box in the synthetic picture, so its optimised graph cannot be compared with it"
    assert refusal(lambda _data: model_finding(20, 1e-5), model_finding(0, 1e-5)) == reason


def test_a_failed_optimisation_is_not_used() -> None:
    def fail(_data: bytes) -> bytes:
        raise RuntimeError("no such step\nand a long trace")

    assert refusal(fail) == "no such step"
    assert refusal(lambda _data: b"no network") is not None


def test_a_file_that_is_not_a_model_is_refused() -> None:
    with pytest.raises(ModelRefusedError, match="it is no ONNX model"):
        optimize(b"no network")


def test_a_file_is_optimised_in_place_and_its_plain_export_is_kept_beside_it(tmp_path: Path) -> None:
    path, plain = tmp_path / "best.onnx", tmp_path / "best.plain.onnx"
    path.write_bytes(PLAIN)
    for _ in range(2):
        result = optimize_file(tmp_path / "best.pt")
        assert (result.onnx, result.plain, result.model.reason) == (path, plain, None)
        assert (path.read_bytes(), plain.read_bytes()) == (optimize(PLAIN).data, PLAIN)
    assert sorted(tmp_path.iterdir()) == [path, plain]
    plain.unlink()
    assert optimize_file(path).plain is None


def test_an_unchanged_file_gets_no_plain_export(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    path.write_bytes(PLAIN)
    result = optimize_file(path, lambda _data: model_finding(20))
    assert (result.plain, result.model.reason) == (None, "its optimised graph finds other boxes")
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], PLAIN)


def test_another_file_with_the_plain_exports_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(PLAIN)
    (tmp_path / "best.plain.onnx").write_bytes(FILE)
    message = r"best\.plain\.onnx exists and is not the export of best\.onnx: move it or delete it"
    with pytest.raises(ModelRefusedError, match=message):
        optimize_file(tmp_path / "best.onnx")
    assert ((tmp_path / "best.onnx").read_bytes(), (tmp_path / "best.plain.onnx").read_bytes()) == (PLAIN, FILE)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.onnx", r"absent\.onnx cannot be read: No such file"),
        ("best.plain.onnx", r"best\.plain\.onnx is a plain export by its name"),
        ("best.pt", r"best\.pt is a PyTorch checkpoint, which is never loaded here; run: savo models export"),
    ],
)
def test_a_file_that_cannot_be_optimised_is_refused_by_name(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        optimize_file(tmp_path / name)


def test_inference_works_without_the_onnx_package() -> None:
    """The package is an extra, which vision does not install."""
    code = f"""
import sys
sys.modules["onnx"] = None
import numpy
from savo_detection.engines.selection import Engines
from savo_detection import Detector
detector = Detector.load({FILE!r}, engines=Engines("auto"))
assert len(detector.detect_array(numpy.zeros((64, 64, 3), "uint8"))) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
