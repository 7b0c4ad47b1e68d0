"""`savo dataset audit`: ranks likely label errors by what models detect that were not trained on the photo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from savo_datasets.audit.predictions import photo_key, read_predictions, write_predictions
from savo_datasets.audit.ranking import LabelAudit, audit_labels
from savo_datasets.audit.suspicions import Detected
from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import Sample
from savo_datasets.reports.contact_sheet import SHEET_NAME, write_contact_sheet
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_trainer.command_line.dataset.audit_report import AuditReport, print_report
from savo_trainer.command_line.dataset.fold_models import FoldTraining, detect_by_folds, train_folds
from savo_trainer.command_line.dataset.sources import opened, selected
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson, ImageSize, check_image_size
from savo_trainer.command_line.terminal import err, print_json
from savo_trainer.versions.checkout import checkout

__all__ = ["audit"]


@reported_errors()
def audit(
    source: Annotated[
        str,
        typer.Argument(metavar="VERSION|DIR", help="Version, such as ds-000003, or a folder that `show` can read."),
    ],
    predictions: Annotated[
        list[Path] | None,
        typer.Option("--predictions", metavar="FILE", help="Stored detections, one file or one for each fold."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", metavar="FILE", help="ONNX file for each fold, in their order; one judges all photos."),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", metavar="N", min=2, help="Train N models, each without the photos it judges.")
    ] = 3,
    architecture: Annotated[
        str,
        typer.Option("--architecture", metavar="MODEL", help="With --folds: architecture (.yaml) or weights (.pt)."),
    ] = "yolov8n.yaml",
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="With --folds: epochs of each.")] = 60,
    imgsz: ImageSize = 640,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="With --folds: auto, cpu, mps, 0.")
    ] = "auto",
    split: Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="Only train, val or test.")] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the detections, for --predictions.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page with the most suspicious photos.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder for the page and the models.")
    ] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="At most N suspicions are shown.")] = 200,
    as_json: AsJson = False,
) -> None:
    """Rank likely label errors: missing boxes, wrong names, misplaced boxes.

    Detections come from --predictions, from --model, or from models that are trained here: --folds.
    """
    if predictions and model:
        raise typer.BadParameter("give --predictions or --model, not both")
    check_image_size(imgsz)
    folder = output or load_settings(RuntimeSettings).data_dir / "label_audits" / Path(source).resolve().name
    found = opened(str(_checked_out(source, folder / "photos")) if _is_version(source) else source)
    samples = list(selected(found, None, split))
    if not samples:
        raise DatasetError(f"{source} has no such photo", found.left_out.examples())
    if predictions:
        detections = read_predictions(predictions)
    else:
        training = FoldTraining(architecture, epochs, imgsz, device)
        models = model or train_folds(samples, found.classes, folds, training, folder / "folds")
        detections = detect_by_folds(samples, models)
    if save:
        write_predictions(save, detections)
    report = AuditReport(source, _audited(samples, detections, found.classes), most, len(model or ()) == 1)
    summary = report.as_dict()
    if html:
        photos = report.audited.photos_of(most)
        page = write_contact_sheet(folder, source, photos, found.classes, report.page_sentences(), report.empty_text)
        summary |= {"html": str(page), "sheet": str(page.with_name(SHEET_NAME))}
    print_json(summary) if as_json else print_report(report, summary)


def _is_version(source: str) -> bool:
    return bool(re.fullmatch(r"ds-\d+", source)) and not Path(source).exists()


def _checked_out(version: str, folder: Path) -> Path:
    """The photos of a version, fetched once: it never changes."""
    if not folder.exists():
        with err.status(f"fetching {version}"):
            run_on_store(lambda store: checkout(version, store, folder))
    return folder


def _audited(samples: Sequence[Sample], detections: dict[str, list[Detected]], classes: Sequence[str]) -> LabelAudit:
    audited = audit_labels(samples, detections, classes)
    if not audited.photos:
        known = next(iter(detections), None)
        expected = f"{photo_key(samples[0])!r}, …"
        raise CommandError(f"the detections are of other photos: {known!r}, …; this data set has {expected}")
    return audited
