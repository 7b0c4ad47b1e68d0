"""`savo models optimize`: a model file is optimised in place, or stays unchanged with a reason."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from libs.detection.tests.tiny_models import NAMES, constant_model, model_to_optimize, raw_rows
from savo_detection import model_optimization
from savo_detection.model_optimization import optimize
from savo_trainer.commands import register as register_commands

app = typer.Typer()
register_commands(app)

ROWS = raw_rows([(0.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES))
PLAIN, WITH_OTHER_BOXES = (
    model_to_optimize(ROWS),
    constant_model(raw_rows([(9.0, 8.0, 32.0, 32.0, 0, 0.9)], len(NAMES))),
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", "optimize", *map(str, arguments)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "best.onnx"
    path.write_bytes(PLAIN)
    return path


def test_the_file_is_optimised_in_place_and_its_export_is_kept_beside_it(model: Path) -> None:
    result = run(model)
    assert (result.exit_code, result.output) == (
        0,
        f"{model}: optimised\n  its plain export: {model.with_name('best.plain.onnx')}\n",
    )
    assert model.read_bytes() == optimize(PLAIN).data
    assert model.with_name("best.plain.onnx").read_bytes() == PLAIN


def test_optimising_a_second_time_changes_nothing_and_succeeds(model: Path) -> None:
    first, second = (json.loads(run(model, "--json").stdout) for _ in range(2))
    assert first == second
    assert first == {
        "onnx": str(model),
        "sha256": sha256(model.read_bytes()).hexdigest(),
        "bytes": model.stat().st_size,
        "optimized": True,
        "reason": None,
        "plain": str(model.with_name("best.plain.onnx")),
        "plain_sha256": sha256(PLAIN).hexdigest(),
    }


def test_the_path_of_a_checkpoint_means_the_onnx_file_beside_it(model: Path) -> None:
    model.with_suffix(".pt").write_bytes(b"weights")
    assert run(model.with_suffix(".pt")).exit_code == 0
    assert model.read_bytes() == optimize(PLAIN).data


def test_a_file_with_nothing_to_optimise_is_a_success(model: Path) -> None:
    model.write_bytes(WITH_OTHER_BOXES)
    result = run(model)
    assert (result.exit_code, result.output) == (
        0,
        f"{model}: stays as it is: its graph holds nothing that could be optimised\n",
    )
    assert list(model.parent.iterdir()) == [model]


def test_a_file_whose_optimised_graph_finds_other_boxes_stays_and_exits_with_1(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_optimization, "optimize", lambda data, _: optimize(data, lambda _: WITH_OTHER_BOXES))
    result = run(model, "--json")
    summary = json.loads(result.stdout)
    assert (result.exit_code, summary["optimized"], summary["reason"], summary["plain"]) == (
        1,
        False,
        "its optimised graph finds other boxes",
        None,
    )
    assert (model.read_bytes(), list(model.parent.iterdir())) == (PLAIN, [model])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.onnx", None, "absent.onnx cannot be read: No such file or directory"),
        ("weights.pt", b"PK\x03\x04", "savo models export"),
        ("notes.onnx", b"no network", "notes.onnx: it is no ONNX model that can be loaded"),
    ],
)
def test_an_invalid_model_is_named_in_one_line_and_exits_with_1(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run(tmp_path / name)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith("savo: ")
    assert reason in result.output


def test_the_file_argument_is_required() -> None:
    assert run().exit_code == 2
