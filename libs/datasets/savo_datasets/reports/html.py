"""Parts of HTML pages that load nothing from the network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["PAGE_END", "counted", "counted_of", "figure", "page_head", "table"]

PAGE_END = "</main></html>\n"


def page_head(title: str) -> str:
    """Beginning of a page; `PAGE_END` is its end."""
    return _HEAD.format(title=escape(title))


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 photo" and "2 photos"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{'es' if noun.endswith('x') else 's'}"


def counted_of(part: int, total: int, noun: str) -> str:
    """Beginning of a sentence, such as "1 of 2 photos is" and "60 of 231 photos are"."""
    return f"{part:,} of {counted(total, noun)} {'is' if part == 1 else 'are'}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>\n"


def figure(source: str, name: str, notes: Sequence[str]) -> str:
    """A picture with a name and notes below it."""
    lines = "".join(f"<br>{escape(note)}" for note in notes)
    picture = f'<img loading="lazy" src="{source}" alt="{escape(name)}">'
    return f"<figure>{picture}<figcaption><code>{escape(name)}</code>{lines}</figcaption></figure>\n"


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:0;background:#f6f7f9;color:#1c2024}}
main{{max-width:1500px;margin:auto;padding:24px}}h1{{font-size:22px;overflow-wrap:anywhere}}h2{{font-size:18px;margin-top:28px}}
table{{border-collapse:collapse;margin:12px 24px 12px 0;background:#fff}}
th,td{{padding:4px 12px;border:1px solid #dfe3e8;text-align:right}}td:first-child,th:first-child{{text-align:left}}
.grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:14px}}
figure{{background:#fff;border:1px solid #dfe3e8;border-radius:8px;margin:0;padding:10px;overflow-wrap:anywhere}}
img{{max-width:100%;display:block;margin:auto}}figcaption{{font-size:13px;margin-top:6px}}</style>
<main><h1>{title}</h1>
"""
