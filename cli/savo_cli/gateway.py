"""HTTP client of the gateway. Its errors say what to do next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from savo_runtime.command_line.output import CommandError

__all__ = ["Gateway", "RefusedError", "read_up_file"]

DEFAULT_URL = "http://127.0.0.1:8000"
_SECONDS = 40.0
"""Longer than the longest `wait` that the gateway accepts."""


def read_up_file() -> dict[str, Any] | None:
    """The `up.json` of this data folder with the current service URLs; None when `savo up` is not running here."""
    run_dir = Path(os.environ.get("SAVO_DATA_DIR", ".savo")) / "run"
    found = _read(run_dir / "up.json")
    if found is None:
        return None
    # A restarted service usually has another port, which it writes to a file of its own.
    services = {
        name: (_read(run_dir / f"{name}.json") or {}).get("url") or at for name, at in found.get("services", {}).items()
    }
    return found | {"services": services}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class RefusedError(CommandError):
    """The gateway answered with an error status."""

    def __init__(self, status: int, detail: str, hint: str) -> None:
        super().__init__(f"the gateway refused: {status} {detail}{hint}")
        self.status = status
        self.detail = detail


class Gateway:
    """A connection to one gateway. Every method raises `CommandError` unless the answer is a success."""

    def __init__(
        self, url: str | None = None, key: str | None = None, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        here = read_up_file() or {}
        self.url = _with_scheme(url or here.get("gateway_url") or DEFAULT_URL).rstrip("/")
        headers = {"X-API-Key": key} if key else {}
        self._client = httpx2.Client(
            base_url=self.url, timeout=_SECONDS, headers=headers, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        return self._send("GET", path, params=parameters)

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("PUT", path, json=body)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", path, json=body)

    def delete(self, path: str) -> Any:
        return self._send("DELETE", path)

    def send_photo(self, photo: Path, *, wait: float, fields: dict[str, str]) -> Any:
        try:
            data = photo.read_bytes()
        except OSError as error:
            raise CommandError(f"{photo}: {error.strerror or error}") from error
        return self._send("POST", "/v1/scans", params={"wait": wait}, files={"image": (photo.name, data)}, data=fields)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, Sequence[str]]) -> Iterator[httpx2.Response]:
        """A response to read piece by piece. Raises `RefusedError`, and `httpx2.TransportError` instead of an answer.

        Reading raises `httpx2.TransportError` when the connection is lost.
        """
        with self._client.stream("GET", path, params={name: list(values) for name, values in query.items()}) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            yield answer

    def no_answer(self, error: Exception) -> CommandError:
        """The error for a gateway that cannot be reached."""
        hint = "start it with `savo up`, or give its address with --url"
        return CommandError(f"the gateway at {self.url} does not answer ({_reason(error)}); {hint}")

    def _send(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._client.request(method, path, **request)
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise self.no_answer(error) from error
        if answer.is_success:
            return _document(answer)
        raise _refusal(answer)


def _with_scheme(url: str) -> str:
    """Render's reference to another service is HOST:PORT."""
    return url if "://" in url or ":" not in url else f"http://{url}"


def _refusal(answer: httpx2.Response) -> RefusedError:
    try:
        problem = answer.json()
        message = f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError, TypeError):
        message = answer.text.strip()[:200] or answer.reason_phrase
    hint = (
        "; give one with --key or SAVO_API_KEY (made by `savo keys create NAME --scope scans`)"
        if answer.status_code == httpx2.codes.UNAUTHORIZED
        else ""
    )
    return RefusedError(answer.status_code, message, hint)


def _document(answer: httpx2.Response) -> Any:
    if answer.status_code == httpx2.codes.NO_CONTENT:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise CommandError(f"{answer.url} is not a Savo gateway: the answer is not JSON; check --url") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
