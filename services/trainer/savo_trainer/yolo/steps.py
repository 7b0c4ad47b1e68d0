"""Steps of the training program: train, export and validate with ultralytics, offline, in the run's folder."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics.models import YOLO
from ultralytics.utils import ROOT

from savo_detection.detector import plain_export_path
from savo_detection.model_optimization import optimize_file
from savo_trainer.yolo.job import Job
from savo_trainer.yolo.parent_process import EventWriter

__all__ = ["STEPS", "export", "train", "validate"]

OPSET = 17
"""Supported by onnxruntime 1.14 and later."""


def train(job: Job, events: EventWriter) -> None:
    shutil.rmtree(job.best.parent, ignore_errors=True)  # results of an earlier attempt must not be reported
    model = YOLO(job.weights or _architecture(job))
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(job.threads))
    model.add_callback("on_fit_epoch_end", _EpochEvents(events))
    model.train(**_arguments(job))
    _ensure_best(job)
    events.send("trained", weights=str(job.best))


def export(job: Job, events: EventWriter) -> None:
    """Export the model with an optimised graph, and keep the plain export beside it where the two differ.

    Batch size and sides stay dynamic, so that inference runs on a photo in its own shape. The metadata has the class
    names. The graph has no NMS: `savo_detection` does it for every model.
    """
    plain_export_path(job.onnx).unlink(missing_ok=True)
    YOLO(job.best).export(
        format="onnx", imgsz=job.image_size, opset=OPSET, simplify=_has("onnxslim"), dynamic=True, device="cpu"
    )
    optimized = optimize_file(job.onnx)
    events.send(
        "exported",
        onnx=str(optimized.onnx),
        plain=str(optimized.plain) if optimized.plain else None,
        reason=optimized.model.reason,
        opset=OPSET,
    )


def validate(job: Job, events: EventWriter) -> None:
    """mAP@0.5 of the weights and of their export by ultralytics' validator on the same photos, for the parity check."""
    for kind, weights in (("pt", job.best), ("onnx", job.onnx)):
        if weights.exists():
            events.send("validated", kind=kind, map50=_map50(job, weights), split=job.holdout)


STEPS = {"train": train, "export": export, "validate": validate}


class _EpochEvents:
    """Sends one event an epoch. Ignores ultralytics' extra call for the best weights after the last epoch."""

    def __init__(self, events: EventWriter) -> None:
        self._wire = events
        self._last = 0
        self._started = time.monotonic()

    def __call__(self, trainer: Any) -> None:
        epoch = int(trainer.epoch) + 1
        if epoch <= self._last or epoch > int(trainer.epochs):
            return
        self._last = epoch
        losses = {
            key.removeprefix("train/"): round(float(value), 4)
            for key, value in trainer.label_loss_items(trainer.tloss).items()
        }
        # ultralytics reports zeros for an epoch without a validation.
        measured = (
            (trainer.metrics or {}).get("metrics/mAP50(B)")
            if trainer.args.val or epoch == int(trainer.epochs)
            else None
        )
        map50 = None if measured is None else round(float(measured), 4)
        seconds = round(time.monotonic() - self._started, 1)
        self._wire.send(
            "epoch",
            epoch=epoch,
            epochs=int(trainer.epochs),
            losses=losses,
            map50=None if map50 is None else round(float(map50), 4),
            seconds=seconds,
        )


def _arguments(job: Job) -> dict[str, Any]:
    """Defaults, then the operator's overrides. Paths cannot be overridden."""
    _check_device(job.device)
    on_cpu = job.device == "cpu" or (job.device == "auto" and not torch.cuda.is_available())
    chosen: dict[str, Any] = {
        "epochs": job.epochs,
        "batch": job.batch,
        "imgsz": job.image_size,
        "seed": job.seed,
        "plots": False,
        "verbose": False,
    }
    chosen |= {"amp": False, "workers": 0, "deterministic": False} if on_cpu else {}
    chosen |= job.extra
    fixed = {"data": job.data, "project": job.folder, "name": job.name, "exist_ok": True}
    return chosen | fixed | ({} if job.device == "auto" else {"device": job.device})


def _check_device(device: str) -> None:
    if device not in ("auto", "cpu", "mps") and not torch.cuda.is_available():
        raise ValueError(
            f"device {device} needs a CUDA GPU, and torch finds none: use auto or cpu to train on the processor"
        )


def _architecture(job: Job) -> str:
    """The model's name, or a file in the run's folder with the same architecture at another width."""
    if job.width is None or not job.model.endswith(".yaml"):
        return job.model
    named = Path(job.model)
    source = named if named.exists() else next(ROOT.glob(f"cfg/models/**/{_family(named.stem)}.yaml"))
    layers = yaml.safe_load(source.read_text(encoding="utf-8"))
    scale = layers.pop("scales", {}).get(_scale(named.stem), [layers.get("depth_multiple", 1.0), job.width, 1024])
    layers |= {"depth_multiple": scale[0], "width_multiple": job.width, "max_channels": scale[2]}
    target = Path(job.folder) / "architecture.yaml"
    target.write_text(yaml.safe_dump(layers), encoding="utf-8")
    return str(target)


def _family(stem: str) -> str:
    return stem[:-1] if stem[-1:] in "nsmlx" else stem


def _scale(stem: str) -> str:
    return stem[-1:] if stem[-1:] in "nsmlx" else "n"


def _ensure_best(job: Job) -> None:
    """Use the last weights where no validation between epochs chose the best."""
    if not job.best.exists():
        shutil.copyfile(job.best.with_name("last.pt"), job.best)


def _map50(job: Job, weights: Path) -> float:
    """Square letterbox for both (`rect=False`): an export with a fixed input size accepts nothing else."""
    device = {} if job.device == "auto" else {"device": job.device}
    if weights.suffix == ".onnx":
        device = {"device": "cpu"}
    fixed = {"batch": 1, "rect": False, "workers": 0, "plots": False, "verbose": False, "exist_ok": True}
    names = {"project": job.folder, "name": f"validate-{weights.suffix[1:]}"}
    measured = YOLO(weights, task="detect").val(
        data=job.data, split=job.holdout, imgsz=job.image_size, **fixed, **names, **device
    )
    return float(measured.box.map50)


def _has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True
