"""Audit log: records who changed what, the values before and after, when, and in which trace.

An entry is an event on `audit.recorded`, whose records are kept for ever. A service adds it to its outbox in the
transaction of the change, so that both are stored or neither is. A tool publishes it first, and makes the change only
when the entry is recorded.

    await audit(
        partial(outbox.add, session), "share.changed", by="rollout", about="vision",
        before={"share": 0.05}, after={"share": 0.25},
    )
    await audit(
        publisher.publish, "dead-letters.redriven", by=user, about=topic,
        after={"records": 12}, reason="the bad model is gone",
    )
"""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from opentelemetry import trace

from savo_contracts.audit import AuditRecorded, AuditValue
from savo_runtime.telemetry.redaction import Redaction

__all__ = ["Action", "Recorder", "audit", "this_user"]

Action = Literal[
    "share.changed",
    "alias.moved",
    "model.refused",
    "model.registered",
    "run.cancelled",
    "dead-letters.redriven",
    "records.replayed",
    "samples.imported",
    "scan.erased",
    "subject.erased",
    "key.created",
    "key.revoked",
]

Recorder = Callable[[AuditRecorded], Awaitable[None]]
"""Stores an entry or raises: `partial(outbox.add, session)` in a service, `publisher.publish` in a tool."""

_BY_LIMIT, _ABOUT_LIMIT, _REASON_LIMIT = 120, 200, 1000
_redaction = Redaction()


async def audit(
    record: Recorder,
    action: Action,
    *,
    by: str,
    about: str,
    before: Mapping[str, AuditValue] | None = None,
    after: Mapping[str, AuditValue] | None = None,
    reason: str = "",
    at: datetime | None = None,
) -> AuditRecorded:
    """Record an entry and return it. Raises what `record` raises; then nothing was recorded.

    Secrets are masked. The caller must not pass user ids.
    """
    entry = AuditRecorded(
        action=action,
        by=_redaction.text(by)[:_BY_LIMIT],
        about=_redaction.text(about)[:_ABOUT_LIMIT],
        before=_redaction.value(before or {}),
        after=_redaction.value(after or {}),
        reason=_redaction.text(reason)[:_REASON_LIMIT],
        trace_id=_trace_id(),
        recorded_at=at or datetime.now(UTC),
    )
    await record(entry)
    return entry


def _trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def this_user() -> str:
    """Name of the operating system's user: the default author of a command's entry."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return "operator"
