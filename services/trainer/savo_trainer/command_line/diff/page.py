"""HTML page of a comparison, with a picture of both results for each of the most changed photos."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from savo_detection.differences.html import PAGE_END, figure, page_head, table, totals
from savo_detection.differences.side_by_side import draw_side_by_side
from savo_trainer.command_line.diff import sentences
from savo_trainer.command_line.diff.measurement import Differences
from savo_trainer.command_line.diff.photos import ComparedPhoto

__all__ = ["draw_pictures", "write_page"]

PhotoLine = tuple[ComparedPhoto, dict[str, Any]]

SHOWN_ROWS = 60


def draw_pictures(differences: Differences, folder: Path) -> list[PhotoLine]:
    """Draw the most changed photos. Returns them with `picture`, the path relative to `folder`, in their lines."""
    names = [differences.summary["models"][side]["name"] for side in ("before", "after")]
    drawn = []
    for number, (photo, line) in enumerate(differences.most_changed, start=1):
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
            class_columns = ("class", "boxes", f"AP@0.5 {names[0]}", f"AP@0.5 {names[1]}", "points (95 %)")
            page.write(f"<div>{table(class_columns, rows)}</div>")
        label_columns = ("label", "gained", "lost", "moved", "renamed from", "renamed to")
        page.write(f"<div>{table(label_columns, sentences.label_rows(summary, SHOWN_ROWS))}</div>")
        if summary["data"]["boxes"] and drawn:
            page.write("<p>Dashed: the labels. A box is right when it overlaps a label of its class by IoU 0.5.</p>\n")
        for _, line in drawn:
            sides = f"{names[0]} left, {names[1]} right"
            page.write(figure(line["photo"], line["changes"], line["picture"], sides, _score(line, "")))
        if (left := summary["photos"]["changed"] - len(drawn)) > 0:
            more = f"{left} more photos changed: see differences.jsonl, or show more here with --pictures N."
            page.write(f"<p>{more}</p>\n")
        page.write(PAGE_END)


def _score(line: dict[str, Any], side: str) -> str:
    """Number of labelled boxes that one side found, or with an empty `side` both."""
    if line["truth"] is None:
        return ""
    right, truth = line["right"], line["truth"]
    if side:
        return f": {right[side]} of {truth} labels found"
    return f"{right['before']} → {right['after']} of {truth} labels found"
