"""`savo train`: trains a model by hand, exports it to ONNX and measures both files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from savo_datasets.yolo_folder import count_photos, read_data_yaml
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.command_line.model_delivery import delivery_lines, delivery_summary, megabytes
from savo_trainer.command_line.options import AsJson, Data, ImageSize, check_checkpoint, check_image_size
from savo_trainer.command_line.terminal import err, print_json, print_line
from savo_trainer.command_line.training_note import write_note
from savo_trainer.runs.run import Progress as Epoch
from savo_trainer.training.plan import Trained, TrainPlan

__all__ = ["train"]

RESULTS = Path("runs/train")


@reported_errors()
def train(
    data: Data,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="Architecture (.yaml) or local weights (.pt).")
    ] = "yolov8n.yaml",
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="Passes over the photos of train.")] = 100,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Photos in a step.")] = 16,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, mps, or CUDA indices such as 0.")
    ] = "auto",
    imgsz: ImageSize = 640,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Results go to runs/train/NAME; default is the data set's folder, numbered."
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option("--width", metavar="FACTOR", help="Width multiple instead of the architecture's own."),
    ] = None,
    extra: Annotated[
        str,
        typer.Option(
            "--extra", metavar="JSON", help='Further training arguments of ultralytics, as JSON: {"mosaic": 0.5}.'
        ),
    ] = "{}",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Seed of the first weights and of the order of photos.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Train, export to ONNX and compare the two: runs/train/NAME/weights/{best.pt,best.onnx}."""
    path = Path(model)
    # The training runs in another folder, so a local path must be absolute.
    architecture = str(path.resolve()) if path.is_file() else model
    plan = TrainPlan(architecture, epochs, batch, imgsz, device, width, seed, _json_object(extra))
    content = read_data_yaml(data)
    _check(plan, name)
    trained = _train(plan, content, name or _claim_name(data))
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


def _claim_name(data: Path) -> str:
    """Name of the data set's folder, with -2, -3, … where runs/train has it. Creates the results' folder."""
    base = re.sub(r"[^\w.-]+", "-", data.resolve().parent.name).strip(".-") or "savo"
    for number in count(1):
        name = base if number == 1 else f"{base}-{number}"
        try:
            (RESULTS / name).mkdir(parents=True)
        except FileExistsError:
            continue
        return name
    raise AssertionError("count() does not end")


def _check(plan: TrainPlan, name: str | None) -> None:
    if plan.model.endswith(".pt"):
        if not Path(plan.model).exists():
            hint = "give a path, or train from scratch with --model yolov8n.yaml"
            raise CommandError(f"{plan.model} is not on this machine, and weights are not downloaded: {hint}")
        check_checkpoint(Path(plan.model))
    if name is not None and not re.fullmatch(r"[\w.-]+", name):
        raise CommandError(f"--name {name!r} is not a folder name: letters, digits, '.', '_' and '-' are allowed")
    check_image_size(plan.image_size)


def _train(plan: TrainPlan, content: Mapping[str, Any], name: str) -> Trained:
    results, runner = RESULTS.resolve(), LocalRunner()
    job, holdout = results / name / "job", "test" if content.get("test") else "val"
    data = _write_data_yaml(content, job)
    with _epoch_bar(plan.epochs) as on_epoch:
        work = runner.train(plan, data, job, on_epoch, output=results, name=name, holdout=holdout)
        return asyncio.run(work)


def _write_data_yaml(content: Mapping[str, Any], job: Path) -> Path:
    """Write the data set's description with its present folder, as ultralytics reads it."""
    job.mkdir(parents=True, exist_ok=True)
    target = job / "data.yaml"
    present = dict(content) | {"path": str(content["path"]), "names": list(content["names"])}
    target.write_text(yaml.safe_dump(present, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return target


@contextmanager
def _epoch_bar(total: int) -> Iterator[Callable[[Epoch], Awaitable[None]]]:
    counts = TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.description}")
    with Progress(TextColumn("epoch"), BarColumn(), counts, TimeElapsedColumn(), console=err) as bar:
        task = bar.add_task("starting", total=total)

        async def on_epoch(epoch: Epoch) -> None:
            losses = " ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in epoch.losses.items())
            bar.update(task, completed=epoch.epoch, total=epoch.epochs, description=losses)

        yield on_epoch


def _print(trained: Trained, data: Path, *, as_json: bool) -> None:
    files = {"weights": str(trained.weights), "onnx": str(trained.export.onnx), "seconds": round(trained.seconds, 1)}
    measured = {"map50_pt": trained.weights_map50, "map50_onnx": trained.export_map50}
    if as_json:
        sizes = {"weights_mb": megabytes(trained.weights)} | delivery_summary(trained.export.onnx)
        print_json(files | measured | sizes)
        return
    print_line(f"{files['weights']} ({megabytes(trained.weights)} MB)\n{files['onnx']}")
    print_line(f"in {files['seconds']} s; mAP@0.5 by ultralytics' validator: {_points(measured)}")
    print_line(f"next: savo evaluate --model {files['onnx']} --data {data}")
    print_line(f"or:   savo models register --model {files['onnx']} --data {data}")
    for line in delivery_lines(trained.export.onnx):
        print_line(line)


def _points(measured: Mapping[str, float | None]) -> str:
    known = {name.removeprefix("map50_"): value for name, value in measured.items() if value is not None}
    return ", ".join(f"{name} {value:.3f}" for name, value in known.items())
