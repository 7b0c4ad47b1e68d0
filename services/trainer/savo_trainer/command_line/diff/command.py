"""Command line of `savo models diff`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from savo_detection.errors import ModelRefusedError, PhotoError
from savo_runtime.command_line.output import reported_errors
from savo_runtime.command_line.progress import progress_bar
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_trainer.command_line.diff.comparison import DiffRequest, compare_models
from savo_trainer.command_line.diff.terminal import print_summary
from savo_trainer.command_line.object_store import run_on_store
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import out, print_json

__all__ = ["diff_models"]


@reported_errors(ModelRefusedError, PhotoError)
def diff_models(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="v1, champion, challenger, or the path of an ONNX file.")
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Same as BEFORE.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE|DIR",
            help="dataset.yaml, or a folder of photos; default is the newest data set's holdout.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="SPLIT", help="Of a dataset.yaml: train, val or test.")
    ] = "test",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder for the page and the pictures.")
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", metavar="N", min=0, help="At most N pictures, of the photos that differ most.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Compare two models on the same photos: mAP@0.5, AP by class, changed boxes, latency and size."""
    folder = output or load_settings(RuntimeSettings).data_dir / "diffs" / _folder_name(before, after)
    request = DiffRequest(before, after, data, split, folder, pictures)
    with progress_bar("photos") as on_progress:
        summary = run_on_store(lambda store: compare_models(request, store, on_progress))
    print_json(summary) if as_json else print_summary(summary, out)


def _folder_name(before: str, after: str) -> str:
    return re.sub(r"[^\w.]+", "-", f"{before}-{after}").strip("-.")[-80:]
