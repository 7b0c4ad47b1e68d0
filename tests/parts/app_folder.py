"""Folders as the app's API has stored them, for tests: photos and labels by month."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from savo_datasets.labels import TruthBox

__all__ = ["app_items", "app_label", "store_photo"]


def app_label(
    photo: bytes, size: tuple[int, int], items: Sequence[dict[str, Any]], user: str | None = "user-0"
) -> dict[str, Any]:
    """The label of a photo, as the app's API writes it. `items`: its annotations, at least with a class."""
    return {
        "scan_id": "00000000-0000-4000-8000-000000000000",
        "image_hash": hashlib.sha256(photo).hexdigest(),
        "image_width": size[0],
        "image_height": size[1],
        "annotations": [
            {"confidence": 1.0, "bbox": None, "quantity": None, "storage": None, "source": "user_confirmed"} | item
            for item in items
        ],
        "original_detections": [{"class": "eggs", "confidence": 0.79, "source": "google_vision"}],
        "metadata": {
            "storage_location": "pantry",
            "timestamp": "2025-12-10T00:15:00.123456",
            "user_id": user,
            "device_info": "Pixel 8",
        },
    }


def app_items(truth: Sequence[TruthBox], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Annotations with boxes in pixels."""
    width, height = size
    return [
        {
            "class": box.label,
            "bbox": {
                "x": box.bbox.x * width,
                "y": box.bbox.y * height,
                "width": box.bbox.width * width,
                "height": box.bbox.height * height,
            },
        }
        for box in truth
    ]


def store_photo(
    folder: Path,
    photo: bytes | None,
    label: dict[str, Any] | str | bytes | None,
    month: str = "2025-12",
    name: str | None = None,
) -> str:
    """Write a photo and its label, or one of them, and return their name without suffix."""
    stem = name or hashlib.sha256(photo or b"").hexdigest()
    for kind, suffix, content in (("images", "jpg", photo), ("labels", "json", label)):
        if content is not None:
            path = folder / kind / month / f"{stem}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content) if isinstance(content, dict) else content
            path.write_bytes(text.encode() if isinstance(text, str) else text)
    return stem
