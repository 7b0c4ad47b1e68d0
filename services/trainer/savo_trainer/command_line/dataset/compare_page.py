"""HTML page of a comparison of two data set versions, with a picture of both label files for each changed photo."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from savo_contracts.documents import ClassList, ManifestLine
from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import truth_boxes
from savo_detection.differences.comparison import Change, change_to_dict, diff_boxes
from savo_detection.differences.html import PAGE_END, figure, page_head, table
from savo_detection.differences.side_by_side import draw_side_by_side
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.versions.comparison import LineChange, VersionDiff

__all__ = ["write_comparison"]

_ORDER = ("relabelled", "added", "removed", "moved")
_KIND_TEXTS = {"moved": "split changed"}
"""Kinds of change whose name means something else in the pictures: there, a box is moved."""
_EXPLANATION = (
    "Pictures: {before} left or above, {after} right or below. Boxes: grey are the same, green are gained, red are"
    " lost, blue are moved or resized, purple have another label."
)


@dataclass(frozen=True)
class _Label:
    """A labelled box as an item that can be compared."""

    label: str
    bbox: BoundingBox
    confidence: float = 1.0


async def write_comparison(diff: VersionDiff, store: ObjectStore, folder: Path, pictures: int) -> Path:
    """Write index.html and the pictures of at most `pictures` changed photos to `folder`; returns the page."""
    changes = sorted(diff.changes, key=lambda change: (_ORDER.index(change.kind), change.sha256))
    await asyncio.to_thread((folder / "pictures").mkdir, parents=True, exist_ok=True)
    figures = [await _figure(change, diff, store, folder) for change in changes[:pictures]]
    shown = [each for each in figures if each]
    await asyncio.to_thread((folder / "index.html").write_text, _page(diff, shown), encoding="utf-8")
    return folder / "index.html"


def _page(diff: VersionDiff, figures: Sequence[str]) -> str:
    summary = diff.as_dict()
    names = (summary["before"], summary["after"])
    counts = [(_KIND_TEXTS.get(kind, kind), count) for kind, count in summary["counts"].items()]
    parts = [page_head(" → ".join(names)), table(("samples", "count"), counts)]
    if summary["boxes"]:
        rows = [(label, *boxes) for label, boxes in summary["boxes"].items()]
        parts.append(table(("label", *(f"boxes {name}" for name in names)), rows))
    merged = [f"{label} was merged into {target}" for label, target in summary["classes"]["merged"].items()]
    added = [f"{label} is a new class" for label in summary["classes"]["added"]]
    parts += [f"<p>{escape(sentence)}.</p>\n" for sentence in (*merged, *added)]
    if figures:
        parts.append(f"<p>{escape(_EXPLANATION.format(before=names[0], after=names[1]))}</p>\n")
    hidden = len(diff.changes) - len(figures)
    more = [f"<p>{hidden:,} more changed photos are not shown: they were erased, or see --pictures.</p>\n"]
    return "".join([*parts, *figures, *(more if hidden else []), PAGE_END])


async def _figure(change: LineChange, diff: VersionDiff, store: ObjectStore, folder: Path) -> str | None:
    """None for a photo or a label file that was erased."""
    line = change.after or change.before
    assert line is not None, "a change has a side"
    try:
        photo = await store.get(line.image_key)
        sides = [
            await _labels(each, classes, store)
            for each, classes in zip((change.before, change.after), diff.classes, strict=True)
        ]
    except ObjectNotFoundError:
        return None
    return await asyncio.to_thread(_drawn, change, photo, sides, (diff.before.name, diff.after.name), folder)


async def _labels(line: ManifestLine | None, classes: ClassList, store: ObjectStore) -> list[_Label]:
    if line is None:
        return []
    text = (await store.get(line.labels_key)).decode()
    return [_Label(box.label, box.bbox) for box in truth_boxes(text, classes.names())]


def _drawn(
    change: LineChange, photo: bytes, sides: Sequence[Sequence[_Label]], names: tuple[str, str], folder: Path
) -> str:
    changes: list[dict[str, Any]] = [_without_confidence(each) for each in diff_boxes(*sides)]
    picture = f"pictures/{change.sha256[:16]}.jpg"
    half = draw_side_by_side(photo, changes, names, folder / picture)
    splits = " → ".join(line.split.value for line in (change.before, change.after) if line)
    note = f"{_KIND_TEXTS.get(change.kind, change.kind)}, {splits}"
    return figure(change.sha256, changes, picture, f"{names[0]} left, {names[1]} right", note, half)


def _without_confidence(change: Change) -> dict[str, Any]:
    """The change for the page. A label has no confidence."""
    shown = change_to_dict(change)
    return shown | {side: shown[side] and shown[side] | {"confidence": None} for side in ("before", "after")}
