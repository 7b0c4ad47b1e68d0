"""HTTP client of the rollout service."""

from __future__ import annotations

from typing import Any

import httpx2

from savo_gateway.errors import RolloutUnavailableError

__all__ = ["HttpRolloutClient"]

SECONDS = 5.0


class HttpRolloutClient:
    """Implements `ports.RolloutClient`. `url`: None when SAVO_ROLLOUT_URL is not set."""

    def __init__(self, url: str | None, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._url = url and url.rstrip("/")
        self._client = httpx2.AsyncClient(timeout=SECONDS, transport=transport)

    async def show(self) -> dict[str, Any]:
        answer = await self._ask("GET", None)
        if answer.status_code != httpx2.codes.OK:
            raise self._unexpected(answer)
        return _document(answer)

    async def change(self, command: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = await self._ask("PUT", command)
        if answer.is_server_error:
            raise self._unexpected(answer)
        return answer.status_code, _document(answer)

    async def close(self) -> None:
        await self._client.aclose()

    def _unexpected(self, answer: httpx2.Response) -> RolloutUnavailableError:
        return RolloutUnavailableError(
            f"the rollout service at {self._url} answered {answer.status_code}; see its log, then retry"
        )

    async def _ask(self, method: str, command: dict[str, Any] | None) -> httpx2.Response:
        if self._url is None:
            raise RolloutUnavailableError("SAVO_ROLLOUT_URL is not set; set it to the address of the rollout service")
        try:
            return await self._client.request(method, f"{self._url}/rollout", json=command)
        except httpx2.HTTPError as error:
            raise RolloutUnavailableError(
                f"the rollout service does not answer: {str(error) or type(error).__name__}"
            ) from error


def _document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError as error:
        raise RolloutUnavailableError("the rollout service's answer is not JSON") from error
    if not isinstance(document, dict):
        raise RolloutUnavailableError("the rollout service's answer is not a JSON object")
    return document
