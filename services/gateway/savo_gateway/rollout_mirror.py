"""The newest routing decision, for when the rollout service itself does not answer."""

from __future__ import annotations

from savo_contracts.rollout import RolloutChanged

__all__ = ["RolloutMirror"]


class RolloutMirror:
    """The newest `rollout.changed`; each replica reads the compacted topic from its start."""

    def __init__(self) -> None:
        self.last: RolloutChanged | None = None

    def show(self, changed: RolloutChanged) -> None:
        if self.last is None or changed.sequence >= self.last.sequence:
            self.last = changed
