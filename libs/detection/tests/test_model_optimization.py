"""A model is optimised where that finds the same boxes, names its plain export, and else stays as it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from libs.detection.tests.test_graph_optimizations import steps
from libs.detection.tests.tiny_models import NAMES, constant_model, model_to_optimize, raw_rows
from savo_detection import Detector, ModelRefusedError
from savo_detection.engines.parity import busy_picture
from savo_detection.model_metadata import PLAIN_SHA256
from savo_detection.model_optimization import optimize, optimize_file


def finding(x: float, score: float = 0.9) -> bytes:
    return constant_model(raw_rows([(x, 8.0, x + 32, 32.0, 0, score)], len(NAMES)))


FILE, PLAIN = finding(0), model_to_optimize(raw_rows([(0.0, 0.0, 32.0, 64.0, 1, 0.9)], len(NAMES)))
SHA256 = hashlib.sha256(PLAIN).hexdigest()


def test_an_optimised_model_finds_the_same_boxes_and_names_its_plain_export() -> None:
    made = optimize(PLAIN)
    assert (made.plain_sha256, made.reason, made.failed) == (SHA256, None, False)
    assert (steps(PLAIN)["Split"], steps(made.data)["Split"]) == (1, 0)
    plain, detector = Detector.load(PLAIN), Detector.load(made.data)
    assert (plain.version_info.plain_sha256, detector.version_info.plain_sha256) == ("", SHA256)
    assert [box.label for box in detector.detect_array(busy_picture(64, 64))] == [NAMES[1]]
    assert detector.detect_array(busy_picture(64, 64)) == plain.detect_array(busy_picture(64, 64))


def test_what_the_file_says_of_itself_stays_and_its_plain_export_is_added() -> None:
    before, after = (onnx.load_model_from_string(data) for data in (PLAIN, optimize(PLAIN).data))
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    told = {entry.key: entry.value for entry in after.metadata_props}
    assert told == {**{entry.key: entry.value for entry in before.metadata_props}, PLAIN_SHA256: SHA256}


def test_it_is_the_same_file_each_time_and_a_second_time_changes_nothing() -> None:
    made = optimize(PLAIN)
    assert optimize(PLAIN).data == made.data
    assert optimize(made.data) == made


def test_a_graph_with_nothing_to_optimise_is_served_as_it_is() -> None:
    made = optimize(FILE)
    assert (made.data, made.plain_sha256, made.reason, made.failed) == (
        FILE,
        None,
        "its graph holds nothing that could be optimised",
        False,
    )


def refused(rewrite: Callable[[bytes], bytes], file: bytes = FILE) -> str | None:
    """Why what `rewrite` makes of the file is not taken."""
    made = optimize(file, rewrite)
    assert (made.data == file) == (made.plain_sha256 is None) == made.failed == (made.reason is not None)
    return made.reason


def test_a_graph_that_finds_the_same_is_taken() -> None:
    assert refused(lambda data: data + onnx.ModelProto(doc_string="shorter").SerializeToString()) is None


@pytest.mark.parametrize("other", [finding(20), finding(0.5), finding(0, 0.898)])
def test_a_graph_that_finds_something_else_is_not(other: bytes) -> None:
    assert refused(lambda _data: other) == "its optimised graph finds other boxes"


def test_nor_that_of_a_network_that_finds_nothing_to_compare() -> None:
    why = "it finds nothing in the picture on which the optimised graph is compared with it"
    assert refused(lambda _data: finding(20, 1e-5), finding(0, 1e-5)) == why


def test_nor_one_that_breaks() -> None:
    def breaks(_data: bytes) -> bytes:
        raise RuntimeError("no such step\nand a long trace")

    assert refused(breaks) == "no such step"
    assert refused(lambda _data: b"no network") is not None


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelRefusedError, match="it is no ONNX model"):
        optimize(b"no network")


def test_a_file_is_optimised_in_its_place_and_its_plain_export_kept_beside_it(tmp_path: Path) -> None:
    path, plain = tmp_path / "best.onnx", tmp_path / "best.plain.onnx"
    path.write_bytes(PLAIN)
    for _ in range(2):
        done = optimize_file(tmp_path / "best.pt")
        assert (done.onnx, done.plain, done.model.reason) == (path, plain, None)
        assert (path.read_bytes(), plain.read_bytes()) == (optimize(PLAIN).data, PLAIN)
    assert sorted(tmp_path.iterdir()) == [path, plain]
    plain.unlink()
    assert optimize_file(path).plain is None


def test_a_file_that_stays_as_it_is_has_no_other_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    path.write_bytes(PLAIN)
    done = optimize_file(path, lambda _data: finding(20))
    assert (done.plain, done.model.reason) == (None, "its optimised graph finds other boxes")
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], PLAIN)


def test_another_export_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(PLAIN)
    (tmp_path / "best.plain.onnx").write_bytes(FILE)
    with pytest.raises(
        ModelRefusedError,
        match=r"best\.plain\.onnx is there and is another export than best\.onnx: move it or delete it",
    ):
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
def test_what_cannot_be_optimised_is_refused_by_name(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=reason):
        optimize_file(tmp_path / name)


def test_everything_but_optimising_works_without_onnx() -> None:
    """The package is an extra, which vision does not install."""
    code = f"""
import sys
sys.modules["onnx"] = None
from savo_detection.engines.selection import Engines
from savo_detection import Detector
assert len(Detector.load({FILE!r}, engines=Engines("auto")).detect_array(__import__("numpy").zeros((64, 64, 3), "uint8"))) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
