"""Small pictures for tests."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

__all__ = ["photo"]


def photo(width: int = 64, height: int = 48, kind: str = "JPEG", seed: int = 1, **options: Any) -> bytes:
    """A picture of several colours. Another `seed` gives another picture."""
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    picture.paste((seed * 37 % 256, seed * 91 % 256, 7), (0, 0, 16, 16))
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
