"""Client of `openai`, OpenAI's SDK, and the meaning of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import openai

from savo_providers.catalogue import OPENAI
from savo_providers.errors import ProviderAnswerError, ProviderError
from savo_providers.http_client import http_client, transport_error
from savo_providers.settings import Connection
from savo_providers.statuses import error_of_status

__all__ = ["connect", "sdk_errors"]


def connect(connection: Connection, seconds: float) -> openai.AsyncOpenAI:
    """A client for the connection. `seconds`: the longest time of one attempt."""
    http = http_client(OPENAI, seconds)
    return openai.AsyncOpenAI(
        api_key=connection.key, base_url=connection.base_url, timeout=seconds, max_retries=0, http_client=http
    )


@contextmanager
def sdk_errors() -> Iterator[None]:
    """Translates every error that the SDK raises in the block to a `ProviderError` or `TimeoutError`.

    The block includes the reading of the answer: the SDK raises for a missing field only when it is read.
    """
    try:
        yield
    except ProviderError:
        raise
    except openai.APIConnectionError as error:
        if isinstance(error.__cause__, ProviderError):
            raise error.__cause__ from error
        raise transport_error(OPENAI, error.__cause__) from error
    except openai.APIStatusError as error:
        raise _status_error(error) from error
    except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
        # The SDK does not validate an answer: reading a missing or wrong field raises these.
        raise ProviderAnswerError(OPENAI.name, "gave an answer that its SDK cannot read") from error


def _status_error(error: openai.APIStatusError) -> ProviderError:
    message = error.body.get("message") if isinstance(error.body, dict) else None
    return error_of_status(OPENAI, error.status_code, error.response.headers, str(message or ""), code=error.code)
