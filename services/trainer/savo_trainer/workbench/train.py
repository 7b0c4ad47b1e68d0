"""`savo train`: trains a model by hand, exports it to ONNX and measures both files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from savo_datasets.yolo_folder import count_photos, read_data_yaml
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.runs.run import Progress as Epoch
from savo_trainer.training.plan import Trained, TrainPlan
from savo_trainer.workbench.options import AsJson, Data, ImageSize, check_image_size
from savo_trainer.workbench.terminal import err, print_json, print_line
from savo_trainer.workbench.training_note import write_note

__all__ = ["train"]

RESULTS = Path("runs/train")


@reported_errors()
def train(
    data: Data,
    model: Annotated[
        str, typer.Option("--model", help="Architecture (.yaml) or local weights (.pt).")
    ] = "yolov8n.yaml",
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 100,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 16,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, mps, or CUDA indices such as 0.")] = "auto",
    imgsz: ImageSize = 640,
    name: Annotated[str, typer.Option("--name", help="Results go to runs/train/NAME.")] = "savo",
    width: Annotated[
        float | None, typer.Option("--width", help="Width multiple instead of the architecture's own.")
    ] = None,
    extra: Annotated[
        str, typer.Option("--extra", help='Further training arguments of ultralytics, as JSON: {"mosaic": 0.5}.')
    ] = "{}",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Train, export to ONNX and compare the two: runs/train/NAME/weights/{best.pt,best.onnx}."""
    path = Path(model)
    # The training runs in another folder, so a local path must be absolute.
    architecture = str(path.resolve()) if path.is_file() else model
    plan = TrainPlan(architecture, epochs, batch, imgsz, device, width, seed, _json_object(extra))
    content = read_data_yaml(data)
    _check(plan, name)
    trained = _train(plan, data, content, name)
    write_note(trained, count_photos(content, "train"))
    _print(trained, data, as_json=as_json)


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--extra is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter('--extra must be a JSON object, such as {"mosaic": 0.5}')
    return value


def _check(plan: TrainPlan, name: str) -> None:
    if plan.model.endswith(".pt") and not Path(plan.model).exists():
        hint = "give a path, or train from scratch with --model yolov8n.yaml"
        raise CommandError(f"{plan.model} is not on this machine, and weights are not downloaded: {hint}")
    if not re.fullmatch(r"[\w.-]+", name):
        raise CommandError(f"--name {name!r} is not a folder name: letters, digits, '.', '_' and '-' are allowed")
    check_image_size(plan.image_size)


def _train(plan: TrainPlan, data: Path, content: Mapping[str, Any], name: str) -> Trained:
    results, runner = RESULTS.resolve(), LocalRunner()
    job, holdout = results / name / "job", "test" if content.get("test") else "val"
    with _epoch_bar(plan.epochs) as on_epoch:
        work = runner.train(plan, data.resolve(), job, on_epoch, output=results, name=name, holdout=holdout)
        return asyncio.run(work)


@contextmanager
def _epoch_bar(total: int) -> Iterator[Callable[[Epoch], Awaitable[None]]]:
    count = TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.description}")
    with Progress(TextColumn("epoch"), BarColumn(), count, TimeElapsedColumn(), console=err) as bar:
        task = bar.add_task("starting", total=total)

        async def on_epoch(epoch: Epoch) -> None:
            losses = " ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in epoch.losses.items())
            bar.update(task, completed=epoch.epoch, total=epoch.epochs, description=losses)

        yield on_epoch


def _print(trained: Trained, data: Path, *, as_json: bool) -> None:
    files = {"weights": str(trained.weights), "onnx": str(trained.export.onnx), "seconds": round(trained.seconds, 1)}
    measured = {"map50_pt": trained.weights_map50, "map50_onnx": trained.export_map50}
    if as_json:
        print_json(files | measured)
        return
    print_line(f"{files['weights']}\n{files['onnx']}")
    print_line(f"in {files['seconds']} s; mAP@0.5 by ultralytics' validator: {_points(measured)}")
    print_line(f"next: savo evaluate --model {files['onnx']} --data {data}")
    print_line(f"or:   savo models register --model {files['onnx']} --data {data}")


def _points(measured: Mapping[str, float | None]) -> str:
    known = {name.removeprefix("map50_"): value for name, value in measured.items() if value is not None}
    return ", ".join(f"{name} {value:.3f}" for name, value in known.items())
