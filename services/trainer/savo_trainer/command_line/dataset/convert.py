"""`savo dataset convert`: writes a data set in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from savo_datasets.formats.new_folder import new_folder
from savo_datasets.formats.writing import Format, write_folder
from savo_runtime.command_line.output import reported_errors
from savo_trainer.command_line.dataset.sources import opened
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import err, print_json, print_line

__all__ = ["convert"]


@reported_errors()
def convert(
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder with a data set: YOLO, COCO, Pascal VOC or Label Studio.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New or empty folder.")],
    to: Annotated[Format, typer.Option("--to", metavar="FORMAT", help="yolo, coco, voc or ndjson.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the input when a photo or row of it cannot be used.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a data set in another format, with the splits that it has.

    Photos are copied byte for byte, and boxes keep their class names. Photos without a split go to train: `savo
    prepare` divides them. A photo or a row that cannot be used is left out and counted; with --strict nothing is
    written then.
    """
    found = opened(source)
    with err.status(f"writing {output}"), new_folder(output) as building:
        photos = write_folder(building, found.samples, found.classes, to, root=output)
        if strict or not photos:
            found.left_out.refuse()
    summary = {"source": source, "format": found.format, "output": str(output), "to": to.value, "photos": photos}
    if as_json:
        left_out = {"left_out": found.left_out.counts(), "left_out_files": found.left_out.files}
        print_json(summary | {"classes": found.classes} | left_out)
        return
    print_line(f"{found.format} → {to.value}: {', '.join(f'{split} {count:,}' for split, count in photos.items())}")
    for reason, files in found.left_out.files.items():
        print_line(f"left out: {len(files)} ({reason}), such as {files[0]}")
