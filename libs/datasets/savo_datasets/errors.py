"""Error for data sets that cannot be used, with the next steps for the person who reads it."""

from __future__ import annotations

from collections.abc import Sequence

from savo_runtime.errors import SavoError

__all__ = ["DatasetError"]


class DatasetError(SavoError):
    """The data set cannot be used as it is. `next_steps`: sentences that say how to repair it."""

    def __init__(self, message: str, next_steps: Sequence[str] = ()) -> None:
        super().__init__(message, reason="dataset-unusable")
        self.next_steps = tuple(next_steps)
