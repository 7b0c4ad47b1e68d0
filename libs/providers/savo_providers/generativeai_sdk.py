"""Client of `google-generativeai`, Google's older SDK (SAVO_GOOGLE_SDK=generativeai), and the meaning of its errors.

Its support ended in November 2025; it is an optional extra for installations that pin it. Its async client supports
gRPC only, which proxies and the stand-in do not, so its REST client runs in a thread pool: one thread a call.
"""

from __future__ import annotations

import importlib
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from savo_providers.catalogue import GOOGLE
from savo_providers.errors import ProviderAnswerError, ProviderError, ProviderUnavailableError
from savo_providers.http_client import MAX_ANSWER_BYTES, answer_too_large_error, unreachable_error
from savo_providers.settings import Connection
from savo_providers.statuses import error_of_status
from savo_runtime.errors import FatalError

__all__ = ["GenerativeAiClient", "connect", "sdk_errors"]

MAX_IN_FLIGHT = 96

_ADDRESS = re.compile(r"^[A-Z]+ \S+: ")
"""Prefix that the SDK adds to a server's message: the method and the address of the request."""


@dataclass(frozen=True)
class GenerativeAiClient:
    """The SDK's model with its HTTP session, and the threads for its blocking calls."""

    model: Any
    session: Any
    threads: ThreadPoolExecutor

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.session.close()


def connect(connection: Connection, generation: Mapping[str, Any]) -> GenerativeAiClient:
    """A client for the connection's model. `generation`: the SDK's `generation_config`.

    Raises `FatalError` when the extra is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that its support has ended
            sdk = importlib.import_module("google.generativeai")
    except ImportError as missing:
        raise FatalError(
            "SAVO_GOOGLE_SDK=generativeai needs the extra generativeai: scripts/install --extra generativeai,"
            " or an image that is built with EXTRAS=generativeai"
        ) from missing
    options = {"api_endpoint": connection.base_url} if connection.base_url else None
    sdk.configure(api_key=connection.key, transport="rest", client_options=options)
    model = sdk.GenerativeModel(connection.model, generation_config=dict(generation))
    return GenerativeAiClient(
        model, _bounded_session(model), ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="generativeai")
    )


@contextmanager
def sdk_errors() -> Iterator[None]:
    """Translates every error that the SDK raises in the block to a `ProviderError` or `TimeoutError`."""
    api_errors = importlib.import_module("google.api_core.exceptions")
    connection_errors = importlib.import_module("requests.exceptions")
    parse_error = importlib.import_module("google.protobuf.json_format").ParseError
    try:
        yield
    except ProviderError:
        raise
    except connection_errors.ReadTimeout as error:
        raise TimeoutError from error
    except connection_errors.ConnectionError as error:
        raise unreachable_error(GOOGLE, error) from error
    except (api_errors.RetryError, connection_errors.RequestException) as error:
        raise ProviderUnavailableError(GOOGLE.name, f"sent an incomplete answer ({type(error).__name__})") from error
    except api_errors.GoogleAPICallError as error:
        raise _api_error(error) from error
    except (ValueError, parse_error) as error:
        raise ProviderAnswerError(GOOGLE.name, "gave an answer that its SDK cannot read") from error


def _bounded_session(model: Any) -> Any:
    """The SDK's HTTP session, changed to reject an answer that is too large or takes too long."""
    adapters, errors = importlib.import_module("requests.adapters"), importlib.import_module("requests.exceptions")

    class Bounded(adapters.HTTPAdapter):  # type: ignore[name-defined, misc]
        def send(self, request: Any, *, timeout: Any = None, **options: Any) -> Any:
            ends_at = time.monotonic() + timeout if isinstance(timeout, int | float) else float("inf")
            response = super().send(request, timeout=timeout, **(options | {"stream": True}))
            body = bytearray()
            for chunk in response.iter_content(65_536):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > ends_at:
                    response.close()
                    raise answer_too_large_error(GOOGLE) if len(body) > MAX_ANSWER_BYTES else errors.ReadTimeout
            response._content = bytes(body)  # noqa: SLF001 - requests reads it there
            return response

    # The SDK has no public access to its client and session, and creates the client only at the first call.
    client = model._client or importlib.import_module("google.generativeai.client").get_default_generative_client()  # noqa: SLF001
    model._client = client  # noqa: SLF001
    session = client.transport._session  # noqa: SLF001
    for scheme in ("http://", "https://"):
        session.mount(scheme, Bounded(pool_maxsize=MAX_IN_FLIGHT))
    return session


def _api_error(error: Any) -> ProviderError:
    headers = getattr(error.response, "headers", None) or {}
    return error_of_status(
        GOOGLE, int(error.code or 500), headers, _ADDRESS.sub("", str(error.message)), body=_body(error.response)
    )


def _body(response: Any) -> Any:
    try:
        return response.json()
    except (AttributeError, ValueError):
        return None
