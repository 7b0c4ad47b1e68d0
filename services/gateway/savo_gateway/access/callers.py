"""Authentication of a request by API key or JWT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from savo_gateway.access.api_keys import find_key
from savo_gateway.access.records import DEFAULT_SCOPES, MAX_NAME, UNAUTHENTICATED, Principal, Scope
from savo_gateway.errors import UnauthorizedError
from savo_gateway.ports import KeyStore

__all__ = ["AccessPolicy", "Authenticator", "JwtPolicy", "Mode", "default_mode"]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Mode(StrEnum):
    """How callers authenticate (SAVO_AUTH)."""

    NONE = "none"
    API_KEY = "api_key"
    JWT = "jwt"


@dataclass(frozen=True)
class JwtPolicy:
    """How users' tokens are checked. `key`: a shared secret (HS256) or a PEM public key (RS256, ES256, EdDSA)."""

    key: str
    algorithms: tuple[str, ...] = ("HS256",)
    audience: str | None = None
    issuer: str | None = None


@dataclass(frozen=True)
class AccessPolicy:
    """Which callers are accepted."""

    mode: Mode
    jwt: JwtPolicy | None = None
    """Set with `Mode.JWT`."""


@dataclass(frozen=True)
class Authenticator:
    """From a request's headers to a principal."""

    policy: AccessPolicy
    keys: KeyStore

    async def __call__(self, headers: Mapping[str, str]) -> Principal:
        """`headers` by lower-case names. Raises `UnauthorizedError`."""
        if self.policy.mode is Mode.NONE:
            return UNAUTHENTICATED
        token = _token(headers)
        if self.policy.mode is Mode.JWT:
            return self._by_jwt(token)
        return await self._by_key(token)

    async def _by_key(self, token: str) -> Principal:
        key = await find_key(self.keys, token)
        if key is None:
            raise UnauthorizedError("this API key is unknown or revoked; `savo keys create NAME` creates one")
        return Principal(f"key:{key.key_id}", key.scopes)

    def _by_jwt(self, token: str) -> Principal:
        assert self.policy.jwt is not None
        rules = self.policy.jwt
        try:
            claims = jwt.decode(
                token,
                rules.key,
                algorithms=list(rules.algorithms),
                audience=rules.audience,
                issuer=rules.issuer,
                options={"require": ["exp", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise UnauthorizedError(f"the token is not valid: {error}; sign in again for a new one") from error
        user_id = claims["sub"]
        if not 0 < len(user_id) <= MAX_NAME:
            raise UnauthorizedError(f"the token's `sub` has {len(user_id)} characters; 1 to {MAX_NAME} are allowed")
        return Principal(f"user:{user_id}", _scopes(claims), user_id=user_id)


def default_mode(host: str) -> Mode:
    """Open on a loopback address, where only this machine can call; keys anywhere else."""
    return Mode.NONE if host in LOOPBACK else Mode.API_KEY


def _token(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if key := headers.get("x-api-key"):
        return key.strip()
    raise UnauthorizedError("send `Authorization: Bearer …` or `X-API-Key: …`")


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Known scopes of the token's `scope` claim. Unknown ones are ignored."""
    if "scope" not in claims:
        return DEFAULT_SCOPES
    named = str(claims["scope"]).split()
    return frozenset(scope for scope in Scope if scope.value in named)
