"""Public keys from a JWKS address (RFC 7517), cached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import jwt
import structlog

from savo_runtime.errors import DependencyDownError

__all__ = ["JwksClient"]

log = structlog.get_logger()

FETCH_SECONDS = 3.0
FRESH_SECONDS = 600.0
"""Age from which the keys are fetched again."""
KEPT_SECONDS = 86_400.0
"""Age until which known keys are used while the address does not answer."""
RETRY_SECONDS = 10.0
"""Shortest time between two fetches: tokens with invented key ids must not become requests to the issuer."""


class JwksClient:
    """Implements `ports.SigningKeys`. An unknown key id fetches the keys again, so the issuer may rotate them.

    `seconds`: a monotonic clock.
    """

    def __init__(
        self,
        url: str,
        seconds: Callable[[], float],
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._client = httpx2.AsyncClient(transport=transport)
        self._keys: Mapping[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._error = ""
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        key = self._keys.get(key_id)
        if key is None or self._age() >= FRESH_SECONDS:
            await self._refresh(key)
            key = self._keys.get(key_id)
        if self._age() >= KEPT_SECONDS or (key is None and self._error):
            raise DependencyDownError("jwks", f"{self._url}: {self._error}", retry_after=RETRY_SECONDS)
        return key

    async def close(self) -> None:
        await self._client.aclose()

    def _age(self) -> float:
        return self._seconds() - self._fetched_at

    async def _refresh(self, known: jwt.PyJWK | None) -> None:
        """Fetch the keys, at most every `RETRY_SECONDS`. Requests with a known key do not wait for another's fetch."""
        if known is not None and self._fetching.locked():
            return
        async with self._fetching:
            if self._seconds() - self._tried_at < RETRY_SECONDS:
                return
            self._tried_at = self._seconds()
            try:
                self._keys = await self._fetch()
                self._fetched_at, self._error = self._tried_at, ""
            except (httpx2.HTTPError, TimeoutError, ValueError, jwt.PyJWKSetError) as error:
                self._error = str(error) or type(error).__name__
                log.warning("jwks.unavailable", url=self._url, error=self._error)

    async def _fetch(self) -> dict[str | None, jwt.PyJWK]:
        # A deadline for the whole answer: httpx's timeouts start again with each byte.
        async with asyncio.timeout(FETCH_SECONDS):
            answer = await self._client.get(self._url, headers={"Accept": "application/json"})
        answer.raise_for_status()
        return _keys_of(answer.json())


def _keys_of(document: Any) -> dict[str | None, jwt.PyJWK]:
    """Keys by their id. Raises `ValueError` or `jwt.PyJWKSetError`."""
    if not isinstance(document, dict):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - the caller handles wrong answers alike
    found = jwt.PyJWKSet.from_dict(document).keys
    return {key.key_id: key for key in found if key.key_type != "oct" and key.public_key_use in (None, "sig")}
