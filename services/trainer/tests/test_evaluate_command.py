"""What `savo evaluate` prints about classes that are measured within a session of train."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from savo_datasets.class_table import SPLIT_REPORT_FILE
from savo_detection.evaluation.evaluator import EvaluationResult
from savo_trainer.command_line import evaluate as command
from savo_trainer.commands import register

app = typer.Typer()
register(app)
cli = CliRunner()

MEASURED = EvaluationResult(0.6, 0.5, 0.7, {"egg": 0.9, "milk": 0.6, "oats": 0.3}, 40, 90, ())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset.yaml; the model's result is `MEASURED`."""
    monkeypatch.setattr(command, "_load", lambda _: SimpleNamespace(version_info=SimpleNamespace(sha256="ab")))
    monkeypatch.setattr(command, "evaluate_detector", lambda *_: MEASURED)
    (tmp_path / "dataset.yaml").write_text("test: images/test\nnames: [egg, milk, oats]\n", encoding="utf-8")
    return tmp_path / "dataset.yaml"


def evaluate(data: Path, same_session: list[str] | None, *options: str) -> str:
    if same_session is not None:
        (data.parent / SPLIT_REPORT_FILE).write_text(json.dumps({"same_session": same_session}), encoding="utf-8")
    result = cli.invoke(app, ["evaluate", "--model", "best.onnx", "--data", str(data), *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_classes_of_a_session_of_train_are_marked_and_the_figure_is_given_without_them(data: Path) -> None:
    lines = evaluate(data, ["egg"]).splitlines()
    assert [line for line in lines if "same session" in line] == [next(line for line in lines if "egg" in line)]
    assert lines[-2:] == [
        "mAP@0.5 0.600 (95 % interval 0.500 to 0.700)",
        "mAP@0.5 without classes from sessions that train has too: 0.450",
    ]


def test_json_has_both_figures(data: Path) -> None:
    summary = json.loads(evaluate(data, ["egg", "oats"], "--json"))
    assert (summary["map50"], summary["map50_without_same_session"]) == (0.6, 0.6)
    assert summary["same_session"] == ["egg", "oats"]


@pytest.mark.parametrize(("same_session", "figure"), [(None, ""), ([], ""), (["egg", "milk", "oats"], "none")])
def test_there_is_no_second_figure_without_such_classes_and_none_with_only_such(
    data: Path, same_session: list[str] | None, figure: str
) -> None:
    output = evaluate(data, same_session)
    assert output.rstrip().endswith(f"train has too: {figure}" if figure else "to 0.700)")
