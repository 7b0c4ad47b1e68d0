"""HTML parts of a report of changes between two answers. The page loads nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from savo_detection.differences.comparison import ChangeDict
from savo_detection.differences.side_by_side import COLOURS, GAP

__all__ = ["PAGE_END", "change_text", "figure", "page_head", "table", "totals"]

_KIND_TEXTS = {"same": "same", "moved": "moved", "relabelled": "other label", "gained": "gained", "lost": "lost"}

PAGE_END = "</main></html>\n"


def page_head(title: str) -> str:
    """Beginning of the page; `PAGE_END` is its end."""
    return _HEAD.format(title=escape(title))


def totals(boxes: Mapping[str, int]) -> str:
    """Table of the number of boxes by kind of change."""
    head = "".join(f"<th>{escape(text)}</th>" for text in _KIND_TEXTS.values())
    cells = "".join(f'<td style="color:{COLOURS[kind]}">{boxes[kind]}</td>' for kind in _KIND_TEXTS)
    return f"<table><tr>{head}</tr><tr>{cells}</tr></table>\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>\n"


def figure(
    name: str,
    changes: Iterable[ChangeDict],
    picture: str,
    alt: str,
    note: str = "",
    half: tuple[int, int] | None = None,
) -> str:
    """The changes of a photo as a list, with the picture at the URL `picture` and a note beside the photo's name.

    `half`: width and height of a half of the picture in pixels. Then the halves are above each other on a phone.
    """
    items = "".join(
        f'<li style="color:{COLOURS[change["kind"]]}">{escape(change_text(change))}</li>'
        for change in changes
        if change["kind"] != "same"
    )
    remark = f" <span>{escape(note)}</span>" if note else ""
    image = f'<img loading="lazy" src="{escape(picture)}" alt="{escape(alt)}"'
    shown = f"{image}>" if half is None else _halves(image, *half)
    return f"<figure><figcaption><code>{escape(name)}</code>{remark}<ul>{items}</ul></figcaption>{shown}</figure>\n"


def _halves(image: str, width: int, height: int) -> str:
    """The picture twice, cut by the style sheet to its left and its right half."""
    size = f"max-width:{width}px;aspect-ratio:{width}/{height}"
    parts = (f'{image} style="{size};object-position:{side}">' for side in ("left", "right"))
    return f'<div class="halves" style="max-width:{2 * width + GAP}px">{"".join(parts)}</div>'


def change_text(change: Mapping[str, Any]) -> str:
    """A change as text, such as "moved: egg 0.91 (IoU 0.55)"."""
    before, after = change["before"], change["after"]
    overlap = f" (IoU {change['iou']:.2f})" if change["iou"] is not None else ""
    if change["kind"] == "relabelled":
        return f"{before['label']} → {after['label']}{overlap}{_correctness(change)}"
    item = after or before
    confidence = "" if item["confidence"] is None else f" {item['confidence']:.2f}"
    return f"{_KIND_TEXTS[change['kind']]}: {item['label']}{confidence}{overlap}{_correctness(change)}"


def _correctness(change: Mapping[str, Any]) -> str:
    """Whether the boxes are correct, for photos with labels."""
    before, after = (change.get(side) for side in ("before_right", "after_right"))
    one_box = {(None, True): "right", (None, False): "wrong", (True, None): "was right", (False, None): "was wrong"}
    both_boxes = {
        (True, True): "",
        (False, False): "wrong as before",
        (False, True): "now right",
        (True, False): "now wrong",
        (None, None): "",
    }
    text = (one_box | both_boxes)[before, after]
    return f" – {text}" if text else ""


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1c2024}}
main{{max-width:1500px;margin:auto;padding:24px}}h1{{font-size:22px}}h1,code,figcaption{{overflow-wrap:anywhere}}
table{{border-collapse:collapse;margin:12px 24px 12px 0;background:#fff;display:inline-table;vertical-align:top}}
th,td{{padding:4px 12px;border:1px solid #dfe3e8;text-align:right}}td:first-child,th:first-child{{text-align:left}}
figure{{background:#fff;border:1px solid #dfe3e8;border-radius:8px;margin:16px 0;padding:12px}}img{{max-width:100%}}
.halves{{display:grid;gap:8px;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}}
.halves img{{width:100%;object-fit:cover}}
ul{{margin:4px 0 8px;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px}}
@media(max-width:600px){{main{{padding:16px}}table{{margin-right:0}}th,td{{padding:4px 8px;overflow-wrap:anywhere}}}}
</style><main><h1>{title}</h1>
"""
