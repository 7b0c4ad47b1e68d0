"""Terminal output of a comparison."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from savo_trainer.command_line.diff import sentences

__all__ = ["print_summary"]

SHOWN_CLASSES = 15


def print_summary(summary: dict[str, Any], out: Console) -> None:
    names = [summary["models"][side]["name"] for side in ("before", "after")]
    _line(out, sentences.photos_sentence(summary))
    _table(out, ("", *names), sentences.model_rows(summary))
    for sentence in (sentences.gain_sentence(summary), *sentences.unknown_sentences(summary)):
        _line(out, sentence)
    if rows := sentences.class_rows(summary, SHOWN_CLASSES):
        _table(out, ("class", "boxes", *names, "points (95 %)"), rows)
        if (left := len(summary["classes"]) - len(rows)) > 0:
            _line(out, f"{left} more classes with smaller changes: see the page or --json")
    _table(out, tuple(summary["boxes"]), [tuple(map(str, summary["boxes"].values()))])
    _line(out, sentences.judged_sentence(summary))
    _line(out, f"pictures: {summary['page']}")


def _line(out: Console, text: str) -> None:
    if text:
        out.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(out: Console, columns: tuple[str, ...], rows: list[tuple[str, ...]] | list[tuple[str, str, str]]) -> None:
    table = Table(*map(escape, columns))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table)
