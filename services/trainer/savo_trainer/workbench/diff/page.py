"""The page of a comparison, with a sheet for each photo on which the two models differ most."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from savo_detection.differences.html import PAGE_END, figure, page_head, table, totals
from savo_detection.differences.side_by_side import draw_side_by_side
from savo_trainer.workbench.diff import sentences
from savo_trainer.workbench.diff.measurement import Differences
from savo_trainer.workbench.diff.photos import ComparedPhoto

__all__ = ["draw_pictures", "write_page"]

PhotoLine = tuple[ComparedPhoto, dict[str, Any]]

SHOWN_ROWS = 60


def draw_pictures(found: Differences, folder: Path) -> list[PhotoLine]:
    """The most changed photos, each with its `picture` relative to `folder`."""
    names = [found.summary["models"][side]["name"] for side in ("before", "after")]
    drawn = []
    for number, (photo, line) in enumerate(found.most, start=1):
        name = f"pictures/{number:03d}.jpg"
        headings = (f"before: {names[0]}{_score(line, 'before')}", f"after: {names[1]}{_score(line, 'after')}")
        draw_side_by_side(
            photo.path.read_bytes(),
            line["changes"],
            headings,
            folder / name,
            truth=[box for _, box in photo.truth or ()],
        )
        drawn.append((photo, line | {"picture": name}))
    return drawn


def write_page(path: Path, summary: dict[str, Any], drawn: Sequence[PhotoLine]) -> None:
    models = summary["models"]
    names = [models[side]["name"] for side in ("before", "after")]
    with path.open("w", encoding="utf-8") as page:
        page.write(page_head(f"{names[0]} → {names[1]}"))
        paragraphs = [
            sentences.photos_sentence(summary),
            sentences.gain_sentence(summary),
            sentences.judged_sentence(summary),
            *sentences.unknown_sentences(summary),
        ]
        page.write("".join(f"<p>{escape(sentence)}</p>\n" for sentence in paragraphs if sentence))
        page.write(table(("", *names), sentences.model_rows(summary)))
        page.write(totals(summary["boxes"]))
        if rows := sentences.class_rows(summary, SHOWN_ROWS):
            page.write(
                f"<div>{table(('class', 'boxes', f'AP@0.5 {names[0]}', f'AP@0.5 {names[1]}', 'points (95 %)'), rows)}</div>"
            )
        page.write(
            f"<div>{table(('label', 'gained', 'lost', 'moved', 'renamed from', 'renamed to'), sentences.label_rows(summary, SHOWN_ROWS))}</div>"
        )
        if summary["data"]["boxes"] and drawn:
            page.write("<p>Dashed: the labels. A box is right when it overlaps a label of its class by IoU 0.5.</p>\n")
        for _, line in drawn:
            page.write(
                figure(
                    line["photo"],
                    line["changes"],
                    line["picture"],
                    f"{names[0]} left, {names[1]} right",
                    _score(line, ""),
                )
            )
        if (left := summary["photos"]["changed"] - len(drawn)) > 0:
            page.write(
                f"<p>{left} more photos changed; they are in differences.jsonl (--pictures N shows more here).</p>\n"
            )
        page.write(PAGE_END)


def _score(line: dict[str, Any], side: str) -> str:
    """How many of the labelled boxes were found: of one side, or of both."""
    if line["truth"] is None:
        return ""
    right, truth = line["right"], line["truth"]
    return (
        f": {right[side]} of {truth} labels found"
        if side
        else f"{right['before']} → {right['after']} of {truth} labels found"
    )
