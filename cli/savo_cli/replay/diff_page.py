"""Of a replay with a model: pictures of what changed, old boxes left and new boxes right, and a page that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from savo_detection.differences.html import PAGE_END, figure, page_head, table, totals
from savo_detection.differences.side_by_side import draw_side_by_side

__all__ = ["draw_changes", "sentence", "write_page"]

_COLUMNS = ("gained", "lost", "moved", "renamed_from", "renamed_to")


def draw_changes(photo: bytes, scan: dict[str, Any], output: Path) -> None:
    """`scan` as the book keeps it. Raises `PhotoError`s."""
    draw_side_by_side(photo, scan["changes"], (_heading_before(scan), _heading_after(scan)), output)


def write_page(path: Path, summary: dict[str, Any], scans: Iterable[dict[str, Any]]) -> None:
    """`scans`: those to list, in order."""
    with path.open("w", encoding="utf-8") as page:
        page.write(page_head(f"Replay with {summary['model']['version']}"))
        page.write(f"<p>{escape(sentence(summary))}</p>\n{totals(summary['boxes'])}")
        if labels := summary["labels"]:
            rows = ((one["label"], *(one.get(name, 0) for name in _COLUMNS)) for one in labels[:50])
            page.write(table([name.replace("_", " ") for name in ("label", *_COLUMNS)], rows))
        shown = 0
        for scan in scans:
            page.write(figure(scan["scan_id"], scan["changes"], scan["picture"], "old boxes left, new boxes right"))
            shown += 1
        if (left := summary["scans"]["changed"] - shown) > 0:
            page.write(
                f"<p>{left} more scans changed; they are in differences.jsonl (--pictures N shows more here).</p>\n"
            )
        page.write(PAGE_END)


def sentence(summary: dict[str, Any]) -> str:
    sums, asks = summary["scans"], summary["fallbacks"]
    lost = sums["gone"] + sums["altered"] + sums["unreadable"]
    text = f"{sums['compared']} scans through {summary['model']['version']}: {sums['changed']} would be answered otherwise, {sums['unchanged']} as before. "
    text += f"In {asks['would_ask_provider']} the model is not sure and the provider would be asked"
    text += (
        f" ({asks['answered_by_record']} recorded answers stood in, {asks['without_record']} had none)."
        if asks["would_ask_provider"]
        else "."
    )
    return text + (
        f" {lost} could not be compared: photo gone {sums['gone']}, altered {sums['altered']}, unreadable {sums['unreadable']}."
        if lost
        else ""
    )


def _heading_before(scan: dict[str, Any]) -> str:
    before = scan["before"]
    return (
        "before: no answer was recorded"
        if before is None
        else f"before: {before['served_by']} {before['model_version']}"
    )


def _heading_after(scan: dict[str, Any]) -> str:
    after = scan["after"]
    if after["recorded"]:
        return f"after: {after['model']} is not sure ({after['scan_confidence']:.2f}); the recorded answer"
    unsure = " – not sure, and no answer of the provider is recorded" if after["falls_back"] else ""
    return f"after: {after['model']} ({after['scan_confidence']:.2f}){unsure}"
