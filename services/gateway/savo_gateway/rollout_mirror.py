"""Copy of the newest routing decision, shown while the rollout service does not answer."""

from __future__ import annotations

from savo_contracts.rollout import RolloutChanged

__all__ = ["RolloutMirror"]


class RolloutMirror:
    """Holds the newest `rollout.changed`. Each replica reads the compacted topic from its start."""

    def __init__(self) -> None:
        self.latest: RolloutChanged | None = None

    def apply(self, changed: RolloutChanged) -> None:
        if self.latest is None or changed.sequence >= self.latest.sequence:
            self.latest = changed
