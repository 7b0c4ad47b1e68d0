"""Spans: no secrets, no steps outside of a trace, and the spans of the object store."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from savo_runtime.storage.port import ObjectNotFoundError
from savo_runtime.storage.traced import TracedStore
from savo_runtime.telemetry import spans
from savo_runtime.telemetry.spans import span, step
from savo_runtime.testing import MemoryStore

SECRET = "postgres://savo:hush-hush@db/savo"


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("test"))
    return exporter


def names(finished: InMemorySpanExporter) -> list[str]:
    return [ended.name for ended in finished.get_finished_spans()]


def as_json(ended: ReadableSpan) -> str:
    return str(ended.to_json())


def test_a_span_has_the_class_of_an_error_and_never_its_message(finished: InMemorySpanExporter) -> None:
    for new_span in (span, step):
        with span("a scan"), pytest.raises(ConnectionError), new_span("a call"):
            raise ConnectionError(f"cannot reach {SECRET}")
    calls = [ended for ended in finished.get_finished_spans() if ended.name == "a call"]
    assert [call.status.status_code.name for call in calls] == ["ERROR"] * 2
    assert [(call.attributes or {})["error.type"] for call in calls] == ["ConnectionError"] * 2
    assert not any("hush-hush" in as_json(ended) for ended in finished.get_finished_spans())


def test_a_step_outside_of_a_trace_makes_no_span(finished: InMemorySpanExporter) -> None:
    with step("polling"):
        pass
    assert names(finished) == []


def test_a_step_is_a_child_of_the_current_span(finished: InMemorySpanExporter) -> None:
    with span("a scan") as scan, step("a transaction"):
        assert trace.get_current_span() is scan
    leaf, root = finished.get_finished_spans()
    assert leaf.parent is not None
    assert leaf.parent == root.get_span_context()


async def test_calls_of_the_object_store_make_spans_with_key_and_size(finished: InMemorySpanExporter) -> None:
    store = TracedStore(MemoryStore())
    with span("a scan"):
        assert await store.put_if_absent("scans/ab/ab.jpg", b"photo")
        assert await store.get("scans/ab/ab.jpg") == b"photo"
        with pytest.raises(ObjectNotFoundError):
            await store.get("scans/cd/cd.jpg")
    put, get, missed, _ = finished.get_finished_spans()
    assert [ended.name for ended in (put, get, missed)] == ["object store put", "object store get", "object store get"]
    assert (
        dict(put.attributes or {})
        == dict(get.attributes or {})
        == {"savo.object.key": "scans/ab/ab.jpg", "savo.object.bytes": 5}
    )
    assert (missed.attributes or {})["error.type"] == "ObjectNotFoundError"
