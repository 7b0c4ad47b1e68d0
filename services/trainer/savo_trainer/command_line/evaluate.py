"""`savo evaluate`: measures a model on labelled photos through the serving code."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from savo_contracts.training import Evaluation
from savo_datasets.class_table import read_same_session
from savo_datasets.yolo_folder import read_data_yaml
from savo_detection.detector import Detector
from savo_detection.errors import ModelRefusedError
from savo_detection.evaluation.evaluator import evaluate as evaluate_detector
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_trainer.command_line.options import AsJson, Data, Split
from savo_trainer.command_line.terminal import err, out, print_json, print_line
from savo_trainer.models.evaluation import as_evaluation, split_samples

__all__ = ["evaluate"]


@reported_errors()
def evaluate(
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="ONNX file.")],
    data: Data,
    split: Split = "test",
    as_json: AsJson = False,
) -> None:
    """Measure a model through the serving code: mAP@0.5 with its interval, and AP by class."""
    content = read_data_yaml(data)
    detector = _load(model)
    with err.status(f"measuring {model} on {split}"):
        try:
            measured = as_evaluation(evaluate_detector(detector, split_samples(content, split)))
        except ValueError as error:
            raise CommandError(str(error)) from error
    same_session = read_same_session(Path(content["path"]))
    without = _map50_without(measured, same_session)
    if as_json:
        facts = {"model": str(model), "split": split, "sha256": detector.version_info.sha256}
        compared = {"same_session": same_session, "map50_without_same_session": without}
        print_json(facts | measured.model_dump(mode="json") | compared)
    else:
        _print(measured, f"{model} on {split}", same_session, without)


def _load(model: Path) -> Detector:
    try:
        detector = Detector.load(model)
    except ModelRefusedError as error:
        raise CommandError(f"{model}: {error}") from error
    if model.suffix == ".pt":
        onnx = model.with_suffix(".onnx")
        print_line(f"measuring {onnx}: a .pt is a pickle and is never opened here", console=err)
    return detector


def _map50_without(measured: Evaluation, same_session: Collection[str]) -> float | None:
    """Mean AP@0.5 of the classes that are not measured within a session of train; None when there is none."""
    independent = [ap for label, ap in measured.per_class.items() if label not in same_session]
    return sum(independent) / len(independent) if independent else None


def _print(measured: Evaluation, title: str, same_session: Collection[str], without: float | None) -> None:
    print_line(f"{title}: {measured.images} photos, {measured.boxes} boxes")
    table = Table("class", "AP@0.5")
    for label, ap in sorted(measured.per_class.items(), key=lambda entry: entry[1]):
        table.add_row(label, f"{ap:.3f}" + (" same session" if label in same_session else ""))
    out.print(table)
    interval = f"95 % interval {measured.map50_lower:.3f} to {measured.map50_upper:.3f}"
    print_line(f"mAP@0.5 {measured.map50:.3f} ({interval})")
    if same_session:
        figure = "none" if without is None else f"{without:.3f}"
        print_line(f"mAP@0.5 without classes from sessions that train has too: {figure}")
