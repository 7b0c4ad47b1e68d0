"""Result of one check of `savo doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """A checked subject, its state and the next step. `wrong` keeps the product from working, a `note` does not."""

    subject: str
    state: Literal["ok", "note", "wrong"]
    observed: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """The object of `savo doctor --json`."""
        return {"what": self.subject, "state": self.state, "found": self.observed, "fix": self.fix}
