"""Google Gemini through `google-generativeai`, for those who still pin it (SAVO_GOOGLE_SDK=generativeai).

Its support ended in November 2025. It is an optional extra and is imported only when chosen. Its own async client speaks gRPC
alone, which no proxy and no stand-in does, so its REST client runs in threads of its own: as many as scans may be in flight.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from savo_contracts.scans import ServedBy
from savo_runtime.errors import FatalError
from savo_vision.adapters.asking import ask_about
from savo_vision.adapters.calling import MAX_ANSWER_BYTES, Calls, meaning_of_status, no_answer_in_time
from savo_vision.adapters.google import KEY_VARIABLE, NAME, read_ended, refused
from savo_vision.adapters.prompt import MAX_OUTPUT_TOKENS, PROMPT
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderAnswerError, ProviderUnavailableError

__all__ = ["LegacyGoogleVision", "connect_legacy_google"]

_SCHEMA = {
    "type": "ARRAY",
    "items": {
        "type": "OBJECT",
        "properties": {
            "label": {"type": "STRING"},
            "box_2d": {"type": "ARRAY", "items": {"type": "INTEGER"}},
            "confidence": {"type": "NUMBER"},
            "quantity": {"type": "NUMBER"},
        },
        "required": ["label", "box_2d"],
    },
}


IN_FLIGHT = 96

_ADDRESS = re.compile(r"^[A-Z]+ \S+: ")
"""What the library puts before a server's words: the method and the address that it asked."""


class AnswerTooLargeError(Exception):
    """It is larger than any answer to our question."""


@dataclass(frozen=True)
class LegacyGoogleVision:
    model: str
    client: Any
    session: Any
    calls: Calls
    threads: ThreadPoolExecutor
    served_by: ServedBy = ServedBy.GOOGLE

    async def look(self, photo: bytes) -> Answer:
        return await ask_about(photo, self.calls, lambda jpeg, seconds: asyncio.get_running_loop().run_in_executor(self.threads, self._ask, jpeg, seconds))

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.session.close()

    def _ask(self, jpeg: bytes, seconds: float) -> Answer:
        api_errors = importlib.import_module("google.api_core.exceptions")
        connection_errors = importlib.import_module("requests.exceptions")
        try:
            contents = [{"mime_type": "image/jpeg", "data": jpeg}, PROMPT]
            response = self.client.generate_content(contents, request_options={"timeout": seconds, "retry": None})
        except AnswerTooLargeError as fault:
            raise ProviderAnswerError(NAME, "gave an answer that is too large to be one") from fault
        except connection_errors.ReadTimeout as fault:
            raise no_answer_in_time(NAME, self.calls.seconds) from fault
        except (api_errors.RetryError, connection_errors.RequestException) as fault:
            what = "cannot be reached" if isinstance(fault, connection_errors.ConnectionError) else "broke off its answer"
            raise ProviderUnavailableError(NAME, f"{what} ({type(fault).__name__})") from fault
        except api_errors.GoogleAPICallError as fault:
            raise _meaning(fault) from fault
        except (ValueError, importlib.import_module("google.protobuf.json_format").ParseError) as fault:
            raise ProviderAnswerError(NAME, "gave an answer that its SDK cannot read") from fault
        return _read(response)


def connect_legacy_google(key: str, model: str, calls: Calls, *, base_url: str | None = None) -> LegacyGoogleVision:
    """Raises `FatalError` when the extra is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its support has ended: said above, and in the README
            sdk = importlib.import_module("google.generativeai")
    except ImportError as missing:
        raise FatalError("SAVO_GOOGLE_SDK=generativeai needs the extra: uv sync --extra generativeai") from missing
    sdk.configure(api_key=key, transport="rest", client_options={"api_endpoint": base_url} if base_url else None)
    config = {"response_mime_type": "application/json", "response_schema": _SCHEMA, "temperature": 0.0, "max_output_tokens": MAX_OUTPUT_TOKENS}
    generative = sdk.GenerativeModel(model, generation_config=config)
    session = _bounded_session(generative)
    return LegacyGoogleVision(model, generative, session, calls, ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="generativeai"))


def _bounded_session(generative: Any) -> Any:
    """The HTTP session of the library's REST client, told to end an answer that grows too large or trickles past its time."""
    adapters, faults = importlib.import_module("requests.adapters"), importlib.import_module("requests.exceptions")

    class Bounded(adapters.HTTPAdapter):  # type: ignore[name-defined, misc]
        def send(self, request: Any, *, timeout: Any = None, **options: Any) -> Any:
            ends = time.monotonic() + timeout if isinstance(timeout, int | float) else float("inf")
            response = super().send(request, timeout=timeout, **(options | {"stream": True}))
            body = bytearray()
            for chunk in response.iter_content(65_536):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES or time.monotonic() > ends:
                    response.close()
                    raise AnswerTooLargeError if len(body) > MAX_ANSWER_BYTES else faults.ReadTimeout
            response._content = bytes(body)  # noqa: SLF001 - requests reads it there
            return response

    # Neither client nor session is reachable by a public name, and the client is otherwise made at the first call.
    generative._client = generative._client or importlib.import_module("google.generativeai.client").get_default_generative_client()  # noqa: SLF001
    session = generative._client.transport._session  # noqa: SLF001
    for scheme in ("http://", "https://"):
        session.mount(scheme, Bounded(pool_maxsize=IN_FLIGHT))
    return session


def _read(response: Any) -> Answer:
    counts = response.usage_metadata
    # Thinking is paid as output; this library knows it only within the total.
    usage = Usage(counts.prompt_token_count, max(counts.candidates_token_count, counts.total_token_count - counts.prompt_token_count))
    if response.prompt_feedback.block_reason:
        raise refused(response.prompt_feedback.block_reason.name, usage)
    if not response.candidates:
        raise ProviderAnswerError(NAME, "gave no answer at all", usage=usage)
    candidate = response.candidates[0]
    reason = getattr(candidate.finish_reason, "name", str(candidate.finish_reason))
    text = "".join(part.text for part in candidate.content.parts)
    return read_ended(reason, text, usage, response._result.model_version)  # noqa: SLF001 - nowhere public


def _meaning(fault: Any) -> Exception:
    headers = getattr(fault.response, "headers", None) or {}
    return meaning_of_status(NAME, KEY_VARIABLE, int(fault.code or 500), headers, _ADDRESS.sub("", str(fault.message)))
