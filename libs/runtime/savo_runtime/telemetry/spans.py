"""Spans of OpenTelemetry, without secrets.

A span of a failed call holds only the class of the error, because its message may contain a password or personal data.
The log line of the same trace has the masked message. The context managers are classes instead of generators because
they are faster, and a scan makes a dozen spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from types import TracebackType

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

__all__ = ["span", "step"]

_tracer = trace.get_tracer("savo_runtime")
_NO_SPAN: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> AbstractContextManager[Span]:
    """A span that becomes the current one inside the block.

    `parent` None: a child of the current span, or the first span of a new trace.
    """
    return _CurrentSpan(_started(name, kind, parent, attributes), parent)


def step(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[Span]:
    """A span without children for one step of recorded work, such as a database transaction.

    Outside of a trace it makes no span: regular polling would fill the collector.
    """
    if not trace.get_current_span().is_recording():
        return _NO_SPAN
    return _LeafSpan(_started(name, kind, None, attributes))


def _started(
    name: str, kind: SpanKind, parent: Context | None, attributes: Mapping[str, AttributeValue] | None
) -> Span:
    return _tracer.start_span(
        name, context=parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    )


class _LeafSpan(AbstractContextManager[Span]):
    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, calls: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _CurrentSpan(_LeafSpan):
    __slots__ = ("_parent", "_token")

    def __init__(self, span: Span, parent: Context | None) -> None:
        super().__init__(span)
        self._parent = parent
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._token = otel.attach(trace.set_span_in_context(self._span, self._parent))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, calls: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, calls)
        if self._token is not None:
            otel.detach(self._token)
