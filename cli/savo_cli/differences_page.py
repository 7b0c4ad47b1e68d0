"""Pictures of what changed, old boxes left and new boxes right, and a page that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from savo_contracts.geometry import BoundingBox

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw_changes", "sentence", "write_page"]

SIDE = 720
"""Longest side of each half, pixels."""

_HEAD = 34
_GAP = 8
_COLOURS = {"same": "#8a8f98", "moved": "#2f6fde", "relabelled": "#a13fd1", "gained": "#1f9d55", "lost": "#d9322b"}
_WORDS = {"same": "same", "moved": "moved", "relabelled": "other label", "gained": "gained", "lost": "lost"}


def draw_changes(photo: bytes, told: dict[str, Any], output: Path) -> None:
    """`told` as the book keeps it. Raises `PhotoError`s."""
    from PIL import Image as Pictures
    from PIL import ImageDraw, ImageFont

    from savo_detection.decoding import decode

    picture = Pictures.fromarray(decode(photo, target_side=SIDE))
    picture.thumbnail((SIDE, SIDE))
    width, height = picture.size
    sheet = Pictures.new("RGB", (2 * width + _GAP, height + _HEAD), "white")
    font = ImageFont.load_default(size=max(11, width // 45))
    for at, side, heading in ((0, "before", _heading_before(told)), (width + _GAP, "after", _heading_after(told))):
        half = picture.copy()
        for change in told["changes"]:
            if change[side] and change[side]["bbox"]:
                _draw(half, change[side], _COLOURS[change["kind"]], font)
        sheet.paste(half, (at, _HEAD))
        ImageDraw.Draw(sheet).text((at + 6, 8), heading, fill="black", font=ImageFont.load_default(size=15))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, quality=85)


def _heading_before(told: dict[str, Any]) -> str:
    before = told["before"]
    return "before: no answer was recorded" if before is None else f"before: {before['served_by']} {before['model_version']}"


def _heading_after(told: dict[str, Any]) -> str:
    after = told["after"]
    if after["recorded"]:
        return f"after: {after['model']} is not sure ({after['scan_confidence']:.2f}); the recorded answer"
    unsure = " – not sure, and no answer of the provider is recorded" if after["falls_back"] else ""
    return f"after: {after['model']} ({after['scan_confidence']:.2f}){unsure}"


def _draw(half: Image.Image, thing: dict[str, Any], colour: str, font: Any) -> None:
    from PIL import ImageDraw

    canvas = ImageDraw.Draw(half)
    left, top, right, bottom = BoundingBox(**thing["bbox"]).to_pixels(*half.size)
    canvas.rectangle((left, top, right, bottom), outline=colour, width=max(2, half.width // 240))
    words = f"{thing['label']} {thing['confidence']:.2f}"
    above = max(0.0, top - font.size - 5)
    canvas.rectangle((left, above, left + canvas.textlength(words, font=font) + 6, above + font.size + 5), fill=colour)
    canvas.text((left + 3, above + 1), words, fill="white", font=font)


def write_page(path: Path, summary: dict[str, Any], scans: Iterable[dict[str, Any]]) -> None:
    """A file that needs nothing from the net. `scans`: those to list, in order."""
    model, sums = summary["model"], summary["scans"]
    with path.open("w", encoding="utf-8") as page:
        page.write(_PAGE_HEAD.format(title=f"Replay with {escape(model['version'])}"))
        page.write(f"<p>{escape(sentence(summary))}</p>\n<table><tr>{''.join(f'<th>{escape(word)}</th>' for word in _WORDS.values())}</tr><tr>")
        page.write("".join(f'<td style="color:{_COLOURS[kind]}">{summary["boxes"][kind]}</td>' for kind in _WORDS) + "</tr></table>\n")
        page.write(_labels(summary["labels"]))
        shown = 0
        for told in scans:
            page.write(_figure(told))
            shown += 1
        if (left := sums["changed"] - shown) > 0:
            page.write(f"<p>{left} more scans changed; they are in differences.jsonl (--pictures N shows more here).</p>\n")
        page.write("</main></html>\n")


def sentence(summary: dict[str, Any]) -> str:
    sums, asks = summary["scans"], summary["fallbacks"]
    lost = sums["gone"] + sums["altered"] + sums["unreadable"]
    words = f"{sums['compared']} scans through {summary['model']['version']}: {sums['changed']} would be answered otherwise, {sums['unchanged']} as before. "
    words += f"In {asks['would_ask_provider']} the model is not sure and the provider would be asked"
    words += f" ({asks['answered_by_record']} recorded answers stood in, {asks['without_record']} had none)." if asks["would_ask_provider"] else "."
    return words + (f" {lost} could not be compared: photo gone {sums['gone']}, altered {sums['altered']}, unreadable {sums['unreadable']}." if lost else "")


def _labels(labels: list[dict[str, Any]]) -> str:
    if not labels:
        return ""
    columns = ("gained", "lost", "moved", "renamed_from", "renamed_to")
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in ("label", *columns))
    rows = "".join(f"<tr><td>{escape(one['label'])}</td>{''.join(f'<td>{one.get(name, 0)}</td>' for name in columns)}</tr>" for one in labels[:50])
    return f"<table><tr>{head}</tr>{rows}</table>\n"


def _figure(told: dict[str, Any]) -> str:
    changes = [change for change in told["changes"] if change["kind"] != "same"]
    items = "".join(f'<li style="color:{_COLOURS[change["kind"]]}">{escape(_change(change))}</li>' for change in changes)
    return (
        f"<figure><figcaption><code>{escape(told['scan_id'])}</code><ul>{items}</ul></figcaption>"
        f'<img loading="lazy" src="{escape(told["picture"])}" alt="old boxes left, new boxes right"></figure>\n'
    )


def _change(change: dict[str, Any]) -> str:
    before, after = change["before"], change["after"]
    if change["kind"] == "relabelled":
        return f"{before['label']} → {after['label']} (IoU {change['iou']:.2f})"
    overlap = f" (IoU {change['iou']:.2f})" if change["iou"] is not None else ""
    return f"{_WORDS[change['kind']]}: {(after or before)['label']} {(after or before)['confidence']:.2f}{overlap}"


_PAGE_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1c2024}}main{{max-width:1500px;margin:auto;padding:24px}}
h1{{font-size:22px}}table{{border-collapse:collapse;margin:12px 24px 12px 0;background:#fff;display:inline-table;vertical-align:top}}
th,td{{padding:4px 12px;border:1px solid #dfe3e8;text-align:right}}td:first-child,th:first-child{{text-align:left}}
figure{{background:#fff;border:1px solid #dfe3e8;border-radius:8px;margin:16px 0;padding:12px}}img{{max-width:100%}}
ul{{margin:4px 0 8px;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px}}</style><main><h1>{title}</h1>
"""
