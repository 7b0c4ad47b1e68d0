"""Authentication of a request by API key or by a user's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from savo_gateway.access.api_keys import find_key, is_api_key
from savo_gateway.access.records import UNAUTHENTICATED, Principal
from savo_gateway.access.tokens import TokenVerifier
from savo_gateway.errors import UnauthorizedError
from savo_gateway.ports import KeyStore

__all__ = ["AccessPolicy", "Authenticator", "Mode", "default_mode"]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Mode(StrEnum):
    """How callers authenticate (SAVO_AUTH)."""

    NONE = "none"
    API_KEY = "api_key"
    JWT = "jwt"


@dataclass(frozen=True)
class AccessPolicy:
    """Which callers are accepted."""

    mode: Mode
    verify_token: TokenVerifier | None = None
    """Set with `Mode.JWT`."""


@dataclass(frozen=True)
class Authenticator:
    """From a request's headers to a principal."""

    policy: AccessPolicy
    keys: KeyStore

    async def __call__(self, headers: Mapping[str, str]) -> Principal:
        """`headers` by lower-case names.

        Raises `UnauthorizedError`, and `DependencyDownError` where the keys of tokens cannot be fetched.
        """
        if self.policy.mode is Mode.NONE:
            return UNAUTHENTICATED
        credential = _credential(headers)
        # API keys are accepted beside tokens: operators have no account in the app.
        if self.policy.verify_token is not None and not is_api_key(credential):
            return await self.policy.verify_token(credential)
        return await self._by_key(credential)

    async def _by_key(self, text: str) -> Principal:
        key = await find_key(self.keys, text)
        if key is None:
            raise UnauthorizedError("this API key is unknown or revoked; `savo keys create NAME` creates one")
        return Principal(f"key:{key.key_id}", key.scopes)


def default_mode(host: str) -> Mode:
    """Open on a loopback address, where only this machine can call; keys anywhere else."""
    return Mode.NONE if host in LOOPBACK else Mode.API_KEY


def _credential(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if key := headers.get("x-api-key"):
        return key.strip()
    raise UnauthorizedError("send `Authorization: Bearer …` or `X-API-Key: …`")
