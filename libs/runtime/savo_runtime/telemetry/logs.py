"""Logging: one line for each event, as text or JSON, with trace ids and masked secrets, for own and library events."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, MutableMapping, Sequence
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from opentelemetry import trace
from stamina.instrumentation import PrometheusOnRetryHook, RetryDetails, set_on_retry_hooks
from structlog.typing import EventDict, Processor

from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.redaction import Redaction, secrets_of

__all__ = ["configure_command_logs", "configure_logs"]

log = structlog.get_logger()

_LIBRARY_LEVELS = {
    "aiobotocore": logging.WARNING,
    "aiokafka": logging.ERROR,
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "botocore": logging.WARNING,
    "google_genai": logging.WARNING,
    "httpx2": logging.WARNING,
    "opentelemetry": logging.ERROR,
    "sqlalchemy": logging.WARNING,
    "stamina": logging.WARNING,
    "uvicorn.access": logging.ERROR,
    "uvicorn.error": logging.WARNING,
}
"""Lowest level logged from libraries that log routine events."""


def configure_logs(settings: Sequence[RuntimeSettings], *, stream: TextIO | None = None) -> None:
    """Configure logging for the process, to stderr unless `stream` is given.

    Level and format are those of the first service; the secrets of all services are masked.
    """
    output = stream or sys.stderr
    redaction = Redaction(secret for chosen in settings for secret in secrets_of(chosen))
    level = logging.getLevelNamesMapping()[settings[0].log_level.upper()]
    renderer = (
        _json()
        if settings[0].log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=output.isatty(), pad_event_to=0)
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        _describe_error,
        _Masking(redaction),
    ]
    structlog.configure(
        processors=[_drop_below(level), *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _one_line, renderer],
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    handler.addFilter(_is_not_repeated)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    set_on_retry_hooks([PrometheusOnRetryHook, _log_retry])
    for name, lowest in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, lowest))


def configure_command_logs(settings: RuntimeSettings) -> None:
    """Configure logging for a command, whose stdout is its result.

    Warnings and errors go to stderr, with masked secrets.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the command reports its errors itself
    structlog.configure(
        processors=[
            _drop_below(logging.WARNING),
            structlog.stdlib.add_log_level,
            _describe_error,
            _Masking(Redaction(secrets_of(settings))),
            _one_line,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, pad_level=False),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # not cached, since tests replace sys.stderr
        cache_logger_on_first_use=False,
    )
    set_on_retry_hooks([PrometheusOnRetryHook, _log_retry])


def _log_retry(details: RetryDetails) -> None:
    """Logs a call that stamina is about to retry."""
    error = str(details.caused_by) or type(details.caused_by).__name__
    log.warning(
        "call.retried",
        call=details.name,
        attempts=details.retry_num,
        wait_seconds=round(details.wait_for, 2),
        error=error,
    )


def _is_not_repeated(record: logging.LogRecord) -> bool:
    """False for uvicorn's record of a failed request: `http.failed` has logged it already, with its trace."""
    return not (record.name == "uvicorn.error" and str(record.msg).startswith("Exception in ASGI application"))


def _json() -> Processor:
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _drop_below(level: int) -> Processor:
    def drop(_logger: Any, method: str, event: EventDict) -> EventDict:
        if logging.getLevelNamesMapping().get(method.upper().replace("EXCEPTION", "ERROR"), level) < level:
            raise structlog.DropEvent
        return event

    return drop


def _add_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    return event


def _describe_error(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replaces a traceback of many lines by the error and the calls that led to it, innermost last."""
    error = _error_of(event.pop("exc_info", None))
    if error is not None:
        event.setdefault("error", f"{type(error).__name__}: {error}")
        event["calls"] = " > ".join(_calls(error.__traceback__))
    return event


def _error_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return cast("BaseException | None", exc_info[1])
    return sys.exc_info()[1] if exc_info else None


def _calls(trace: TracebackType | None) -> Iterable[str]:
    for frame in traceback.extract_tb(trace)[-8:]:
        yield f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}"


def _one_line(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {name: value.replace("\n", "\\n") if isinstance(value, str) else value for name, value in event.items()}


class _Masking:
    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        # Fields with an underscore are structlog's own objects for the formatter.
        return {
            name: value if name.startswith("_") else self._redaction.field(name, value) for name, value in event.items()
        }
