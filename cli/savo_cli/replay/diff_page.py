"""HTML page and pictures of a model replay: each changed scan with its old boxes left and its new boxes right."""

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
    """Draw a scan of a `DiffReport`, before and after. Raises `PhotoError`."""
    draw_side_by_side(photo, scan["changes"], (_heading_before(scan), _heading_after(scan)), output)


def write_page(path: Path, summary: dict[str, Any], scans: Iterable[dict[str, Any]]) -> None:
    """Write the page for a summary of a `DiffReport`; `scans` are those to show, in order."""
    with path.open("w", encoding="utf-8") as page:
        page.write(page_head(f"Replay with {summary['model']['version']}"))
        page.write(f"<p>{escape(sentence(summary))}</p>\n{totals(summary['boxes'])}")
        if labels := summary["labels"]:
            rows = ((row["label"], *(row.get(name, 0) for name in _COLUMNS)) for row in labels[:50])
            page.write(table([name.replace("_", " ") for name in ("label", *_COLUMNS)], rows))
        shown = 0
        for scan in scans:
            page.write(figure(scan["scan_id"], scan["changes"], scan["picture"], "old boxes left, new boxes right"))
            shown += 1
        if (left := summary["scans"]["changed"] - shown) > 0:
            page.write(f"<p>{left} more changed scans are in differences.jsonl; --pictures N shows more here.</p>\n")
        page.write(PAGE_END)


def sentence(summary: dict[str, Any]) -> str:
    """The counts of a summary as one paragraph."""
    return "".join((_compared(summary), _fallbacks(summary["fallbacks"]), _not_compared(summary["scans"])))


def _compared(summary: dict[str, Any]) -> str:
    scans, version = summary["scans"], summary["model"]["version"]
    return f"{scans['compared']} scans through {version}: {scans['changed']} changed, {scans['unchanged']} unchanged. "


def _fallbacks(fallbacks: dict[str, int]) -> str:
    count = fallbacks["would_ask_provider"]
    text = f"In {count} the model is below the confidence threshold and the provider would be asked"
    if not count:
        return f"{text}."
    recorded, missing = fallbacks["answered_by_record"], fallbacks["without_record"]
    return f"{text} ({recorded} recorded answers were used, {missing} have none)."


def _not_compared(scans: dict[str, int]) -> str:
    count = scans["gone"] + scans["altered"] + scans["unreadable"]
    if not count:
        return ""
    reasons = f"photo gone {scans['gone']}, altered {scans['altered']}, unreadable {scans['unreadable']}"
    return f" {count} could not be compared: {reasons}."


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
        return f"after: {after['model']} is not confident ({after['scan_confidence']:.2f}); the recorded answer"
    unsure = " – not confident, and no answer of the provider is recorded" if after["falls_back"] else ""
    return f"after: {after['model']} ({after['scan_confidence']:.2f}){unsure}"
