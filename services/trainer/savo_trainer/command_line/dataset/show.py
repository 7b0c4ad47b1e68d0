"""`savo dataset show`: the classes of a data set, and contact sheets with the most doubtful photos first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import SampleSource
from savo_datasets.reports.contact_sheet import SHEET_NAME, ranked_samples, write_contact_sheet
from savo_datasets.reports.doubts import DoubtKind, RankedSample
from savo_datasets.reports.html import counted_of
from savo_datasets.splits import SPLITS
from savo_runtime.command_line.output import reported_errors
from savo_runtime.command_line.progress import progress_bar
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_trainer.command_line.dataset.sources import opened, selected
from savo_trainer.command_line.options import AsJson
from savo_trainer.command_line.terminal import out, print_json, print_line

__all__ = ["show"]

_LISTED = 10
_WITHOUT_SPLIT = "without split"
_KIND_TEXTS = {
    DoubtKind.OVERLAP: "boxes overlap",
    DoubtKind.TINY: "a box is tiny",
    DoubtKind.WHOLE_PHOTO: "a box is nearly the whole photo",
    DoubtKind.LONG: "a box is very long",
    DoubtKind.BLURRED: "among the least sharp",
}


@reported_errors()
def show(
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder with a data set: YOLO, COCO, Pascal VOC or Label Studio.")
    ],
    class_name: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Only photos with a box of this class.")
    ] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="train, val or test.")] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page with pictures, the doubtful first.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Folder for the page and the picture.")
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=1, help="At most N pictures.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Show the classes of a data set, and the photos with doubtful boxes: overlaps, tiny boxes, blur.

    `--html` writes contact sheets with the boxes drawn: index.html, and sheet.png with its first pictures.
    """
    found = opened(source)
    samples = list(selected(found, class_name, split))
    if not samples:
        raise DatasetError(f"{source} has no such photo", found.left_out.examples())
    with progress_bar("photos") as on_progress:
        ranked = ranked_samples(samples, on_progress)
    summary = _summary(source, found, ranked)
    if html:
        folder = output or load_settings(RuntimeSettings).data_dir / "contact_sheets" / _folder_name(source)
        shown = ranked[:pictures]
        summary["shown"] = len(shown)
        sentences = [*_sentences(summary), _shown(summary, sum(bool(entry.doubts) for entry in shown))]
        page = write_contact_sheet(folder, _title(source, class_name, split), shown, found.classes, sentences)
        summary |= {"html": str(page), "sheet": str(page.with_name(SHEET_NAME))}
    print_json(summary) if as_json else _print(summary)


def _summary(source: str, found: SampleSource, ranked: Sequence[RankedSample]) -> dict[str, Any]:
    photos = Counter(entry.sample.split or _WITHOUT_SPLIT for entry in ranked)
    boxes = {name: Counter[str]() for name in found.classes}
    for entry in ranked:
        for box in entry.sample.boxes:
            boxes[box.label][entry.sample.split or _WITHOUT_SPLIT] += 1
    splits = [name for name in (*SPLITS, _WITHOUT_SPLIT) if photos[name]]
    doubtful = [entry for entry in ranked if entry.doubts]
    return {
        "source": source,
        "format": found.format,
        "photos": {name: photos[name] for name in splits},
        "class_boxes": {name: {split: count[split] for split in splits} for name, count in boxes.items()},
        "left_out": found.left_out.counts(),
        "doubtful": len(doubtful),
        "doubts": {kind.value: sum(_has(entry, kind) for entry in ranked) for kind in DoubtKind},
        "worst": [
            {"photo": str(entry.sample.path), "reasons": [doubt.text for doubt in entry.doubts]}
            for entry in doubtful[:_LISTED]
        ],
    }


def _sentences(summary: dict[str, Any]) -> list[str]:
    photos = ", ".join(f"{name} {count:,}" for name, count in summary["photos"].items())
    boxes = sum(sum(count.values()) for count in summary["class_boxes"].values())
    left_out = (f"Left out: {count} ({reason})." for reason, count in summary["left_out"].items())
    return [f"{summary['format']}, photos: {photos}; boxes: {boxes:,}.", _doubts(summary), *left_out]


def _doubts(summary: dict[str, Any]) -> str:
    """How many photos are doubtful, and why. A photo can have several reasons."""
    kinds = [f"{_KIND_TEXTS[DoubtKind(kind)]}: {count:,}" for kind, count in summary["doubts"].items() if count]
    total = f"{counted_of(summary['doubtful'], sum(summary['photos'].values()), 'photo')} doubtful"
    return f"{total} ({', '.join(kinds)})." if kinds else f"{total}."


def _shown(summary: dict[str, Any], doubtful: int) -> str:
    """`doubtful`: how many of the photos that are shown are doubtful."""
    if not summary["doubtful"]:
        return f"{_photos_shown(summary)}."
    return f"{_photos_shown(summary)}, with {doubtful:,} of the {summary['doubtful']:,} doubtful, which come first."


def _photos_shown(summary: dict[str, Any]) -> str:
    return f"{counted_of(summary['shown'], sum(summary['photos'].values()), 'photo')} shown"


def _has(entry: RankedSample, kind: DoubtKind) -> bool:
    return any(doubt.kind is kind for doubt in entry.doubts)


def _title(source: str, class_name: str | None, split: str | None) -> str:
    filters = [f"class {class_name}" if class_name else "", f"split {split}" if split else ""]
    return ", ".join([source, *filter(None, filters)])


def _print(summary: dict[str, Any]) -> None:
    for sentence in _sentences(summary):
        print_line(sentence)
    splits = list(summary["photos"])
    table = Table("class", *splits)
    for name, count in summary["class_boxes"].items():
        table.add_row(name, *(str(count[split]) for split in splits))
    out.print(table)
    for entry in summary["worst"]:
        print_line(f"{entry['photo']}: {'; '.join(entry['reasons'])}")
    if summary["worst"]:
        print_line(f"{counted_of(len(summary['worst']), summary['doubtful'], 'doubtful photo')} listed.")
    if "html" in summary:
        print_line(f"{_photos_shown(summary)}.")
        print_line(f"page: {summary['html']}")
        print_line(f"sheet: {summary['sheet']}")
    else:
        print_line("next: --html writes pictures with the boxes")


def _folder_name(source: str) -> str:
    return re.sub(r"[^\w.]+", "-", source).strip("-.")[-80:] or "data"
