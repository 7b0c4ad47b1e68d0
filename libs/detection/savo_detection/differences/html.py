"""The parts of a page that lists what changed: a file that needs nothing from the net."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from savo_detection.differences.comparison import ChangeDict
from savo_detection.differences.side_by_side import COLOURS

__all__ = ["PAGE_END", "change_words", "figure", "page_head", "table", "totals"]

_WORDS = {"same": "same", "moved": "moved", "relabelled": "other label", "gained": "gained", "lost": "lost"}

PAGE_END = "</main></html>\n"


def page_head(title: str) -> str:
    return _HEAD.format(title=escape(title))


def totals(boxes: Mapping[str, int]) -> str:
    """Boxes by what became of them."""
    head = "".join(f"<th>{escape(word)}</th>" for word in _WORDS.values())
    return (
        f"<table><tr>{head}</tr><tr>"
        + "".join(f'<td style="color:{COLOURS[kind]}">{boxes[kind]}</td>' for kind in _WORDS)
        + "</tr></table>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>\n"


def figure(name: str, changes: Iterable[ChangeDict], picture: str, alt: str, note: str = "") -> str:
    """One photo: what changed in words, and its sheet under `picture`."""
    told = [change for change in changes if change["kind"] != "same"]
    items = "".join(
        f'<li style="color:{COLOURS[change["kind"]]}">{escape(change_words(change))}</li>' for change in told
    )
    said = f" <span>{escape(note)}</span>" if note else ""
    return (
        f"<figure><figcaption><code>{escape(name)}</code>{said}<ul>{items}</ul></figcaption>"
        f'<img loading="lazy" src="{escape(picture)}" alt="{escape(alt)}"></figure>\n'
    )


def change_words(change: Mapping[str, Any]) -> str:
    before, after = change["before"], change["after"]
    if change["kind"] == "relabelled":
        return f"{before['label']} → {after['label']} (IoU {change['iou']:.2f}){_judged(change)}"
    overlap = f" (IoU {change['iou']:.2f})" if change["iou"] is not None else ""
    return f"{_WORDS[change['kind']]}: {(after or before)['label']} {(after or before)['confidence']:.2f}{overlap}{_judged(change)}"


def _judged(change: Mapping[str, Any]) -> str:
    """Where labels told which box was right."""
    before, after = (change.get(side) for side in ("before_right", "after_right"))
    words = {(None, True): "right", (None, False): "wrong", (True, None): "was right", (False, None): "was wrong"}
    both = {
        (True, True): "",
        (False, False): "wrong as before",
        (False, True): "now right",
        (True, False): "now wrong",
        (None, None): "",
    }
    said = (words | both)[before, after]
    return f" – {said}" if said else ""


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1c2024}}main{{max-width:1500px;margin:auto;padding:24px}}
h1{{font-size:22px}}table{{border-collapse:collapse;margin:12px 24px 12px 0;background:#fff;display:inline-table;vertical-align:top}}
th,td{{padding:4px 12px;border:1px solid #dfe3e8;text-align:right}}td:first-child,th:first-child{{text-align:left}}
figure{{background:#fff;border:1px solid #dfe3e8;border-radius:8px;margin:16px 0;padding:12px}}img{{max-width:100%}}
ul{{margin:4px 0 8px;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px}}</style><main><h1>{title}</h1>
"""
