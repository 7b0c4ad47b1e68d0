"""Who calls, and what they may do. API keys are kept as hashes; people are known outside this service by random subjects only."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal, Protocol

import jwt

from savo_gateway.errors import ForbiddenError, UnauthorizedError

__all__ = [
    "ANYBODY",
    "AccessPolicy",
    "ApiKey",
    "CheckCaller",
    "JwtPolicy",
    "KeyStore",
    "Mode",
    "Person",
    "Principal",
    "Scope",
    "create_key",
    "default_mode",
    "person_named",
]


class Mode(StrEnum):
    NONE = "none"
    API_KEY = "api_key"
    JWT = "jwt"


class Scope(StrEnum):
    SCANS = "scans"
    TRAINING = "training"
    OPS = "ops"


DEFAULT_SCOPES = frozenset({Scope.SCANS, Scope.TRAINING})
"""Of a user's token without a `scope` claim: everything but operations."""

KEY_PREFIX = "savo"
MAX_NAME = 200
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Person:
    """Somebody as the app names them. Leaves this service never."""

    kind: Literal["user", "device"]
    reference: str


@dataclass(frozen=True)
class Principal:
    """An authenticated caller."""

    name: str
    scopes: frozenset[Scope]
    user_id: str | None = None
    """Set when the caller is one user (JWT): they act for nobody else."""
    limited: bool = True
    """Whether requests are counted against the rate limit."""

    def need(self, scope: Scope) -> None:
        """Raises `ForbiddenError`."""
        if scope not in self.scopes:
            raise ForbiddenError(f"this needs the scope {scope.value!r}", scope=scope.value)

    def acting_for(self, user_id: str | None) -> str | None:
        """The user a request is about. Raises `ForbiddenError` when a user names another."""
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise ForbiddenError("user_id is another user than the token's")
        return self.user_id


ANYBODY = Principal("anybody", frozenset(Scope), limited=False)


@dataclass(frozen=True)
class ApiKey:
    """One key as it is stored: never the secret itself."""

    key_id: str
    name: str
    secret_sha256: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None = None


class KeyStore(Protocol):
    async def add_key(self, key: ApiKey) -> None: ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...

    async def list_keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str, at: datetime) -> bool:
        """False when there is no such key."""
        ...


async def create_key(store: KeyStore, name: str, scopes: Iterable[Scope], clock: Callable[[], datetime]) -> tuple[ApiKey, str]:
    """A new key and its plain text, which is shown this once and stored nowhere."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    # The secret has 256 random bits: a plain hash is enough, and quick enough for every request.
    key = ApiKey(key_id, name, _hash(secret), frozenset(scopes), clock())
    await store.add_key(key)
    return key, f"{KEY_PREFIX}_{key_id}_{secret}"


@dataclass(frozen=True)
class JwtPolicy:
    """How users' tokens are checked. `key` is a shared secret (HS256) or a PEM public key (RS256, ES256)."""

    key: str
    algorithms: tuple[str, ...] = ("HS256",)
    audience: str | None = None
    issuer: str | None = None


@dataclass(frozen=True)
class AccessPolicy:
    mode: Mode
    jwt: JwtPolicy | None = None


@dataclass(frozen=True)
class CheckCaller:
    """From a request's headers to a principal."""

    policy: AccessPolicy
    keys: KeyStore

    async def __call__(self, headers: Mapping[str, str]) -> Principal:
        """`headers` by lower-case names. Raises `UnauthorizedError`."""
        if self.policy.mode is Mode.NONE:
            return ANYBODY
        token = _token(headers)
        if self.policy.mode is Mode.JWT:
            return self._by_jwt(token)
        return await self._by_key(token)

    async def _by_key(self, token: str) -> Principal:
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        key = await self.keys.find_key(key_id) if prefix == KEY_PREFIX and key_id else None
        if key is None or key.revoked_at or not hmac.compare_digest(key.secret_sha256, _hash(secret)):
            raise UnauthorizedError("this API key is unknown or revoked; `savo keys create` makes one")
        return Principal(f"key:{key.key_id}", key.scopes)

    def _by_jwt(self, token: str) -> Principal:
        assert self.policy.jwt is not None
        rules = self.policy.jwt
        try:
            claims = jwt.decode(
                token, rules.key, algorithms=list(rules.algorithms), audience=rules.audience, issuer=rules.issuer, options={"require": ["exp", "sub"]}
            )
        except jwt.InvalidTokenError as flaw:
            raise UnauthorizedError(f"this token is not valid: {flaw}") from flaw
        user_id = claims["sub"]
        if not 0 < len(user_id) <= MAX_NAME:
            raise UnauthorizedError(f"this token's `sub` must have 1 to {MAX_NAME} characters")
        return Principal(f"user:{user_id}", _scopes(claims), user_id=user_id)


def default_mode(host: str) -> Mode:
    """Open on a loopback address, where only this machine can call; keys anywhere else."""
    return Mode.NONE if host in LOOPBACK else Mode.API_KEY


def person_named(user_id: str | None, device_id: str | None) -> Person | None:
    """The user when there is one, else the device."""
    if user_id:
        return Person("user", user_id)
    return Person("device", device_id) if device_id else None


def _token(headers: Mapping[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if key := headers.get("x-api-key"):
        return key.strip()
    raise UnauthorizedError("send `Authorization: Bearer …` or `X-API-Key: …`")


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    if "scope" not in claims:
        return DEFAULT_SCOPES
    told = str(claims["scope"]).split()
    return frozenset(scope for scope in Scope if scope.value in told)


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
