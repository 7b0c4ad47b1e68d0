"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """`wrong` keeps the product from working; a `note` is worth knowing."""

    what: str
    state: Literal["ok", "note", "wrong"]
    found: str
    fix: str = ""
