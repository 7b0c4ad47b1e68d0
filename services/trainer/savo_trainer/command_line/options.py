"""Options shared by the trainer's commands."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated

import typer

from savo_runtime.command_line.output import CommandError

__all__ = ["AsJson", "By", "Data", "ImageSize", "Split", "check_checkpoint", "check_image_size"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Name for the audit log; default is the user of this shell.", show_default=False
    ),
]
Data = Annotated[Path, typer.Option("--data", metavar="FILE", help="dataset.yaml, as `savo prepare` writes it.")]
Split = Annotated[str, typer.Option("--split", metavar="SPLIT", help="train, val or test.")]
ImageSize = Annotated[
    int, typer.Option("--imgsz", metavar="N", min=32, help="Side of the square input, pixels; a multiple of 32.")
]

_SIDE_STEP = 32
"""Pixels: the network halves its input five times."""


def check_image_size(image_size: int) -> None:
    """Raises `typer.BadParameter`."""
    if image_size % _SIDE_STEP:
        nearest = max(_SIDE_STEP, round(image_size / _SIDE_STEP) * _SIDE_STEP)
        raise typer.BadParameter(f"--imgsz {image_size} is not a multiple of {_SIDE_STEP}: the nearest is {nearest}")


def check_checkpoint(weights: Path) -> None:
    """Check before torch is imported that an existing file can be a checkpoint. Raises `CommandError`."""
    if not zipfile.is_zipfile(weights):
        raise CommandError(
            f"{weights} is no complete PyTorch checkpoint (a zip file): copy it again, or save it with torch.save"
        )
