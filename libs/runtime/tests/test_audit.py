"""Audit log: entries, their masking and their transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from opentelemetry.sdk.trace import TracerProvider

from savo_contracts.audit import AuditRecorded
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.audit import audit
from savo_runtime.testing import memory_runtime, published_by_outbox

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class RecordedEntries(list[AuditRecorded]):
    async def record(self, entry: AuditRecorded) -> None:
        self.append(entry)


async def test_an_entry_has_author_action_values_time_and_trace() -> None:
    entries = RecordedEntries()
    with TracerProvider().get_tracer("a test").start_as_current_span("a command") as span:
        entry = await audit(
            entries.record,
            "share.changed",
            by="anna",
            about="vision",
            before={"share": 0.05},
            after={"share": 0.25},
            reason="well done",
            at=NOON,
        )
    assert entries == [entry]
    assert (entry.action, entry.by, entry.about, entry.reason) == ("share.changed", "anna", "vision", "well done")
    assert (entry.before, entry.after) == ({"share": 0.05}, {"share": 0.25})
    assert entry.recorded_at == NOON
    assert entry.trace_id == f"{span.get_span_context().trace_id:032x}"


async def test_secrets_in_an_entry_are_masked_by_name_and_by_pattern() -> None:
    entries = RecordedEntries()
    secret = "sk-abcdefghijklmnopqrstuv"
    await audit(
        entries.record,
        "key.created",
        by="anna",
        about="key:ab12",
        before={"api_key": "hunter2"},
        after={"note": f"it is {secret}"},
        reason=f"lost {secret}",
    )
    written = entries[0].model_dump_json()
    assert secret not in written
    assert "hunter2" not in written
    assert entries[0].before == {"api_key": "***"}


async def test_too_long_texts_are_truncated() -> None:
    entries = RecordedEntries()
    await audit(entries.record, "records.replayed", by="a" * 500, about="t" * 500, reason="r" * 5000)
    assert (len(entries[0].by), len(entries[0].about), len(entries[0].reason)) == (120, 200, 1000)


async def test_a_failed_record_raises_in_the_caller() -> None:
    async def record(_entry: AuditRecorded) -> None:
        raise DependencyDownError("kafka", "not acknowledged")

    with pytest.raises(DependencyDownError):
        await audit(record, "dead-letters.redriven", by="anna", about="scans.requested.vision.dlq")


async def test_an_entry_is_stored_only_with_its_change() -> None:
    async def change(about: str, *, breaks: bool) -> None:
        async with runtime.database.session() as session:
            await audit(partial(runtime.outbox.add, session), "share.changed", by="rollout", about=about)
            if breaks:
                raise ZeroDivisionError

    async with memory_runtime("rollout") as runtime:
        await change("vision", breaks=False)
        with pytest.raises(ZeroDivisionError):
            await change("never", breaks=True)
        assert [event.about for event in await published_by_outbox(runtime) if isinstance(event, AuditRecorded)] == [
            "vision"
        ]
