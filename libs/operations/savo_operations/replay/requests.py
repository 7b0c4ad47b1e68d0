"""What is to be replayed, and what may not be: state and records of the past are not work to be done again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from savo_contracts.topics import AUDIT_RECORDED, ROLLOUT_CHANGED, Topic
from savo_operations.replay.selection import Selection
from savo_runtime.errors import SavoError

__all__ = ["Into", "RefusedRequestError", "ReplayRequest"]

Into = Literal["sandbox", "original"]

_NEVER_AGAIN = {
    ROLLOUT_CHANGED: "an old share would come into force again; set one with `savo rollout set`",
    AUDIT_RECORDED: "the audit log is only added to; read it with `savo audit`",
}


class RefusedRequestError(SavoError):
    """The message says why, and what to do."""


@dataclass(frozen=True)
class ReplayRequest:
    """`since` and `until` as they were given: the same texts are the same request."""

    topic: Topic[Any]
    since: str = "start"
    until: str = "end"
    selection: Selection = field(default_factory=Selection)
    into: Into = "sandbox"
    sandbox: str | None = None

    def __post_init__(self) -> None:
        if self.into == "sandbox" and not self.sandbox:
            raise RefusedRequestError("a replay into a sandbox needs the sandbox's name")
        if self.into == "original" and self.topic in _NEVER_AGAIN:
            raise RefusedRequestError(
                f"{self.topic.name} is not replayed into the original: {_NEVER_AGAIN[self.topic]}"
            )

    @property
    def target_sandbox(self) -> str | None:
        return self.sandbox if self.into == "sandbox" else None

    def as_json(self) -> dict[str, Any]:
        asked = {
            "topic": self.topic.name,
            "from": self.since,
            "to": self.until,
            "into": self.into,
            "sandbox": self.target_sandbox,
        }
        return {**asked, **self.selection.as_json()}

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]
