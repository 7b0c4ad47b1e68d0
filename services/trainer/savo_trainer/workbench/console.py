"""What the commands do and print."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from savo_contracts.documents import Alias, alias_key, model_key
from savo_detection.errors import ModelRefusedError, PhotoError
from savo_runtime.errors import SavoError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.runs.run import Progress as Epoch
from savo_trainer.training.plan import TrainPlan

__all__ = ["diff_models", "evaluate_file", "export_here", "show_model", "show_models", "speaking", "train_here"]

MODELS = "models/ingredients/"
RUNS = Path("runs/train")
ALIASES = ("champion", "challenger")
SIDE_STEP = 32
"""Pixels: the network halves its input five times."""

out = Console()
err = Console(stderr=True)

T = TypeVar("T")


@contextmanager
def speaking() -> Iterator[None]:
    """An error that we foresaw is one line and exit 1; anything else is a bug and keeps its traceback."""
    from savo_datasets.errors import DatasetError

    try:
        yield
    except (DatasetError, SavoError, ModelRefusedError, PhotoError) as flaw:
        err.print(f"savo: {flaw}", style="red", markup=False, highlight=False, soft_wrap=True)
        for step in getattr(flaw, "next_steps", ()):
            err.print(f"  {step}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def train_here(plan: TrainPlan, data: Path, name: str, *, as_json: bool) -> None:
    from savo_datasets.errors import DatasetError
    from savo_datasets.yolo_folder import count_photos, read_data_yaml
    from savo_trainer.training.training_note import write_note

    content = read_data_yaml(data)
    if plan.model.endswith(".pt") and not Path(plan.model).exists():
        raise DatasetError(f"{plan.model} is not on this machine, and weights are not downloaded; give a path, or train from scratch with --model yolov8n.yaml")
    if not re.fullmatch(r"[\w.-]+", name):
        raise DatasetError(f"--name {name!r} is no folder name: letters, digits, '.', '_' and '-' are allowed")
    _check_side(plan.image_size)
    folder = RUNS.resolve() / name
    runner = LocalRunner()
    with _epochs(plan.epochs) as on_epoch:
        trained = _run(
            runner.train(plan, data.resolve(), folder / "job", on_epoch, output=folder.parent, name=name, holdout="test" if content.get("test") else "val")
        )
    write_note(trained, count_photos(content, "train"))
    said = {"weights": str(trained.weights), "onnx": str(trained.onnx), "seconds": round(trained.seconds, 1)}
    measured = {"map50_pt": trained.weights_map50, "map50_onnx": trained.export_map50}
    if as_json:
        print_json(said | measured)
        return
    out.print(
        f"{said['weights']}\n{said['onnx']}\nin {said['seconds']} s; mAP@0.5 by ultralytics' own measure: {_points(measured)}", highlight=False, soft_wrap=True
    )
    out.print(f"next: savo evaluate --model {said['onnx']} --data {data}", highlight=False, soft_wrap=True)
    out.print(f"or:   savo models register --model {said['onnx']} --data {data}", highlight=False, soft_wrap=True)


def export_here(weights: Path, imgsz: int, *, as_json: bool) -> None:
    from savo_datasets.errors import DatasetError

    if weights.suffix != ".pt" or not weights.exists():
        raise DatasetError(f"{weights} is no .pt file on this machine")
    _check_side(imgsz)
    with tempfile.TemporaryDirectory(prefix="savo-export-") as folder, err.status("exporting"):
        onnx = _run(LocalRunner().export(weights.resolve(), imgsz, Path(folder)))
    if as_json:
        print_json({"onnx": str(onnx)})
    else:
        out.print(str(onnx), highlight=False, soft_wrap=True)


def evaluate_file(model: Path, data: Path, split: str, *, as_json: bool) -> None:
    from savo_datasets.errors import DatasetError
    from savo_datasets.yolo_folder import read_data_yaml
    from savo_detection.evaluation.evaluator import evaluate
    from savo_detection.model import Detector
    from savo_trainer.models.evaluation import as_evaluation, split_samples

    content = read_data_yaml(data)
    try:
        detector = Detector.load(model)
    except ModelRefusedError as flaw:
        raise DatasetError(f"{model}: {flaw}") from flaw
    if model.suffix == ".pt":
        err.print(f"measuring {model.with_suffix('.onnx')}: a .pt is a pickle and is never opened here", markup=False, highlight=False, soft_wrap=True)
    with err.status(f"measuring {model} on {split}"):
        try:
            measured = as_evaluation(evaluate(detector, split_samples(content, split)))
        except ValueError as flaw:
            raise DatasetError(str(flaw)) from flaw
    if as_json:
        print_json({"model": str(model), "split": split, "sha256": detector.version_info.sha256} | measured.model_dump(mode="json"))
        return
    out.print(f"{model} on {split}: {measured.images} photos, {measured.boxes} boxes", markup=False, highlight=False, soft_wrap=True)
    table = Table("class", "AP@0.5")
    for label, ap in sorted(measured.per_class.items(), key=lambda entry: entry[1]):
        table.add_row(label, f"{ap:.3f}")
    out.print(table)
    out.print(f"mAP@0.5 {measured.map50:.3f} (95 % interval {measured.map50_lower:.3f} to {measured.map50_upper:.3f})", highlight=False, soft_wrap=True)


def diff_models(before: str, after: str, data: Path | None, split: str, output: Path | None, pictures: int, *, as_json: bool) -> None:
    from savo_trainer.workbench.diff.comparison import DiffOrder, compare_models
    from savo_trainer.workbench.diff.terminal import tell

    folder = output or load_settings(RuntimeSettings).data_dir / "diffs" / re.sub(r"[^\w.]+", "-", f"{before}-{after}").strip("-.")[-80:]
    order = DiffOrder(before, after, data, split, folder, pictures)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("photos", total=None)
        summary = _run(_with_store(lambda store: compare_models(order, store, lambda done, total: bar.update(task, completed=done, total=total))))
    print_json(summary) if as_json else tell(summary, out)


def _check_side(imgsz: int) -> None:
    if imgsz % SIDE_STEP:
        nearest = max(SIDE_STEP, round(imgsz / SIDE_STEP) * SIDE_STEP)
        raise typer.BadParameter(f"--imgsz {imgsz} is no multiple of {SIDE_STEP}; {nearest} is the nearest")


def show_models(*, as_json: bool) -> None:
    listed = _run(_with_store(_read_models))
    if as_json:
        print_json({"models": listed})
        return
    table = Table("version", "verdict", "mAP@0.5", "interval", "classes", "samples", "alias")
    for model in listed:
        measured = model["evaluation"]
        interval = f"{measured['map50_lower']:.3f} to {measured['map50_upper']:.3f}"
        row = (model["version"], model["verdict"], f"{measured['map50']:.3f}", interval, str(len(model["classes"])), str(model["train_samples"]))
        table.add_row(*row, ", ".join(model["aliases"]))
    out.print(table)


def show_model(version: str, *, as_json: bool) -> None:
    name = "report.json" if as_json else "card.md"
    content = _run(_with_store(lambda store: _get_text(store, version, name)))
    if as_json:
        print_json(json.loads(content))
    else:
        out.print(Markdown(content))


async def _read_models(store: ObjectStore) -> list[dict[str, Any]]:
    reports = [json.loads(await store.get(info.key)) async for info in store.list(MODELS) if info.key.endswith("/report.json")]
    aliases = {alias: await _alias(store, alias) for alias in ALIASES}
    for report in reports:
        report["aliases"] = [alias for alias, version in aliases.items() if version == report["version"]]
    return sorted(reports, key=lambda report: int(report["version"].removeprefix("v")))


async def _alias(store: ObjectStore, alias: str) -> str | None:
    try:
        return Alias.model_validate_json(await store.get(alias_key(alias))).version
    except (ObjectNotFoundError, ValidationError):
        return None


async def _get_text(store: ObjectStore, version: str, name: str) -> str:
    try:
        return (await store.get(model_key(version, name))).decode()
    except (ObjectNotFoundError, ValueError):  # a version that is no key at all is no version either
        raise SavoError(f"there is no model {version}; `savo models list` names those there are") from None


async def _with_store(work: Callable[[ObjectStore], Awaitable[T]]) -> T:
    store = open_store(load_settings(RuntimeSettings))
    try:
        return await work(store)
    finally:
        await store.close()


@contextmanager
def _epochs(total: int) -> Iterator[Callable[[Epoch], Awaitable[None]]]:
    columns = (TextColumn("epoch"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("starting", total=total)

        async def on_epoch(said: Epoch) -> None:
            losses = " ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in said.losses.items())
            bar.update(task, completed=said.epoch, total=said.epochs, description=losses)

        yield on_epoch


def _run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


def _points(measured: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name.removeprefix('map50_')} {value:.3f}" for name, value in measured.items() if value is not None)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
