"""How spans are made: one door, so that none can carry a secret.

An error leaves only its class on a span: its message may hold a password or somebody's words. The log line of the same trace has the message, masked.
Plain classes in the place of generators: a scan makes a dozen spans.
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
_NOTHING: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> AbstractContextManager[Span]:
    """A span that what happens inside belongs to; `parent` None: the current one's child, or the first of a new trace."""
    return _Whole(_started(name, kind, parent, attributes), parent)


def step(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None
) -> AbstractContextManager[Span]:
    """One step of something whose trace is sent, such as a database transaction. Outside of a trace it makes no span: polling would fill the collector."""
    if not trace.get_current_span().is_recording():
        return _NOTHING
    return _Leaf(_started(name, kind, None, attributes))


def _started(
    name: str, kind: SpanKind, parent: Context | None, attributes: Mapping[str, AttributeValue] | None
) -> Span:
    return _tracer.start_span(
        name, context=parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    )


class _Leaf(AbstractContextManager[Span]):
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


class _Whole(_Leaf):
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
