"""`savo dataset audit`: ranks likely label errors by what models detect that were not trained on the photo."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_datasets.audit.predictions import photo_key, read_predictions, write_predictions
from savo_datasets.audit.ranking import LabelAudit, SuspectLabel, audit_labels
from savo_datasets.audit.suspicions import Detected
from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import Sample
from savo_datasets.groups import GROUPS_FILE
from savo_datasets.reports.contact_sheet import write_contact_sheet
from savo_runtime.command_line.output import CommandError, reported_errors
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_trainer.command_line.dataset.fold_models import FoldTraining, detect_by_folds, train_folds
from savo_trainer.command_line.dataset.sources import opened, selected
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson, ImageSize, check_image_size
from savo_trainer.command_line.terminal import err, out, print_json, print_line
from savo_trainer.versions.checkout import checkout

__all__ = ["audit"]

_PRINTED = 20


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
    audited = _audited(samples, detections)
    summary = _summary(source, audited, most)
    if html:
        page = write_contact_sheet(folder, source, audited.photos_of(most), found.classes, _sentences(audited))
        summary["html"] = str(page)
    print_json(summary) if as_json else _print(summary, audited)


def _is_version(source: str) -> bool:
    return bool(re.fullmatch(r"ds-\d+", source)) and not Path(source).exists()


def _checked_out(version: str, folder: Path) -> Path:
    """The photos of a version, fetched once: it never changes. Photos of a person are one group."""
    if not folder.exists():
        with err.status(f"fetching {version}"):
            run_on_store(lambda store: checkout(version, store, folder))
    lines = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    rows = "".join(f"{line['sha256']},{line['subject']}\n" for line in lines)
    (folder / GROUPS_FILE).write_text(f"name,group\n{rows}", encoding="utf-8")
    return folder


def _audited(samples: Sequence[Sample], detections: dict[str, list[Detected]]) -> LabelAudit:
    audited = audit_labels(samples, detections)
    if not audited.photos:
        known = next(iter(detections), None)
        expected = f"{photo_key(samples[0])!r}, …"
        raise CommandError(f"the detections are of other photos: {known!r}, …; this data set has {expected}")
    return audited


def _summary(source: str, audited: LabelAudit, most: int) -> dict[str, Any]:
    return {
        "source": source,
        "photos": audited.photos,
        "boxes": audited.boxes,
        "without_detections": audited.without_detections,
        "suspicions": audited.by_kind(),
        "ranked": [_row(entry) for entry in audited.ranked[:most]],
    }


def _row(entry: SuspectLabel) -> dict[str, Any]:
    suspicion = entry.suspicion
    return {
        "photo": photo_key(entry.sample),
        "kind": suspicion.kind.value,
        "score": round(suspicion.score, 4),
        "label": suspicion.label,
        "bbox": suspicion.bbox.model_dump(),
        "suggestion": {
            "label": suspicion.suggestion.label,
            "confidence": round(suspicion.suggestion.confidence, 4),
            "bbox": suspicion.suggestion.bbox.model_dump(),
        },
    }


def _sentences(audited: LabelAudit) -> list[str]:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in audited.by_kind().items())
    sentences = [f"{audited.photos:,} photos with {audited.boxes:,} boxes. Suspicions: {kinds}."]
    if audited.without_detections:
        sentences.append(f"{audited.without_detections:,} photos have no detections and were not judged.")
    return sentences


def _print(summary: dict[str, Any], audited: LabelAudit) -> None:
    for sentence in _sentences(audited):
        print_line(sentence)
    table = Table("score", "kind", "photo", "what")
    for entry in audited.ranked[:_PRINTED]:
        suspicion = entry.suspicion
        table.add_row(f"{suspicion.score:.2f}", suspicion.kind.value, photo_key(entry.sample), suspicion.text)
    out.print(table)
    print_line(f"page: {summary['html']}" if "html" in summary else "next: --html writes a page with pictures")
