"""Result of one check of `savo doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """A checked subject, its state and the next step. `wrong` keeps the product from working, a `note` does not."""

    what: str
    state: Literal["ok", "note", "wrong"]
    found: str
    fix: str = ""
