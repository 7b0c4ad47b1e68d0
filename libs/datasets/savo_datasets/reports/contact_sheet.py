"""Contact sheets: the photos of a data set with their boxes, the most doubtful first, as a page and as a PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from savo_datasets.formats.samples import Sample
from savo_datasets.reports.box_drawing import class_colours, draw_boxes, draw_marked
from savo_datasets.reports.doubts import RankedSample, rank
from savo_datasets.reports.html import PAGE_END, counted, figure, page_head
from savo_datasets.reports.pictures import as_data_url, sharpness, sheet, thumbnail

__all__ = ["PAGE_NAME", "SHEET_NAME", "ranked_samples", "write_contact_sheet"]

PAGE_NAME, SHEET_NAME = "index.html", "sheet.png"

_MEASURED = 2000
"""Photos of which sharpness is measured: a photo takes some ten milliseconds."""
_SIDE, _SHEET_SIDE, _SHEET_PICTURES = 360, 240, 36


def ranked_samples(
    samples: Sequence[Sample], on_measured: Callable[[int, int], None] = lambda _done, _total: None
) -> list[RankedSample]:
    """Samples of known size, the most doubtful first. Sharpness is measured on 2,000 of them, evenly chosen."""
    step = max(1, -(-len(samples) // _MEASURED))

    def measured() -> Iterator[tuple[Sample, float | None]]:
        for number, sample in enumerate(samples):
            value = sharpness(sample.path) if sample.path and number % step == 0 else None
            on_measured(number + 1, len(samples))
            yield sample, value

    return rank(measured())


def write_contact_sheet(
    folder: Path,
    title: str,
    ranked: Sequence[RankedSample],
    classes: Sequence[str],
    summary: Iterable[str] = (),
    empty: str = "There is no photo.",
) -> Path:
    """Write the page and the PNG of its first pictures to `folder`, and return the page's path.

    `summary`: sentences above the pictures. `empty`: the sentence instead of the pictures where there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    colours = class_colours(classes)
    first: list[tuple[Image.Image, str]] = []
    page_path = folder / PAGE_NAME
    with page_path.open("w", encoding="utf-8") as page:
        page.write(page_head(title))
        page.write("".join(f"<p>{escape(sentence)}</p>\n" for sentence in summary))
        page.write('<div class="grid">\n' if ranked else f"<p>{escape(empty)}</p>\n<div>")
        for entry in ranked:
            picture = _picture(entry, colours)
            if picture is None:
                continue
            page.write(figure(as_data_url(picture), entry.sample.name, _notes(entry)))
            if len(first) < _SHEET_PICTURES:
                small = picture.copy()
                small.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
                first.append((small, entry.sample.name))
        page.write(f"</div>{PAGE_END}")
    sheet(first, _SHEET_SIDE).save(folder / SHEET_NAME)
    return page_path


def _picture(entry: RankedSample, colours: dict[str, str]) -> Image.Image | None:
    """None for a photo that cannot be read. With marked boxes, the other labels are only hinted at."""
    sample = entry.sample
    try:
        picture = thumbnail(sample.path, _SIDE) if sample.path else None
    except (OSError, ValueError, SyntaxError):
        return None
    marked = [box for doubt in entry.doubts for box in doubt.marked]
    if picture is not None and marked:
        draw_marked(picture, sample.boxes, marked)
    elif picture is not None:
        draw_boxes(picture, sample.boxes, colours)
    return picture


def _notes(entry: RankedSample) -> list[str]:
    place = [entry.sample.split] if entry.sample.split else []
    boxes = counted(len(entry.sample.boxes), "box") if entry.sample.boxes else "background"
    return [", ".join([*place, boxes]), *(doubt.text for doubt in entry.doubts)]
