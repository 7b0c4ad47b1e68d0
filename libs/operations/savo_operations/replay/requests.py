"""Requests for a replay, and the topics that must not be replayed into the original."""

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

_NEVER_INTO_ORIGINAL = {
    ROLLOUT_CHANGED: "an old share would take effect again; set a share with `savo rollout set`",
    AUDIT_RECORDED: "the audit log is append-only; read it with `savo audit`",
}


class RefusedRequestError(SavoError):
    """The request is not allowed. The message says why, and what to do instead."""


@dataclass(frozen=True)
class ReplayRequest:
    """A replay of one topic. Requests are the same if all texts are the same, `since` and `until` included."""

    topic: Topic[Any]
    since: str = "start"
    until: str = "end"
    selection: Selection = field(default_factory=Selection)
    into: Into = "sandbox"
    sandbox: str | None = None

    def __post_init__(self) -> None:
        if self.into == "sandbox" and not self.sandbox:
            raise RefusedRequestError("a replay into a sandbox needs the sandbox's name: add --sandbox NAME")
        if self.into == "original" and self.topic in _NEVER_INTO_ORIGINAL:
            reason = _NEVER_INTO_ORIGINAL[self.topic]
            raise RefusedRequestError(f"{self.topic.name} cannot be replayed into the original: {reason}")

    @property
    def target_sandbox(self) -> str | None:
        return self.sandbox if self.into == "sandbox" else None

    def as_json(self) -> dict[str, Any]:
        fields = {
            "topic": self.topic.name,
            "from": self.since,
            "to": self.until,
            "into": self.into,
            "sandbox": self.target_sandbox,
        }
        return {**fields, **self.selection.as_json()}

    @property
    def fingerprint(self) -> str:
        """Identifies the request: it names the file of its progress."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]
