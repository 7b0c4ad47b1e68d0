"""Data types of access: people, authenticated callers, API keys and their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from savo_gateway.errors import ForbiddenError

__all__ = ["DEFAULT_SCOPES", "MAX_NAME", "UNAUTHENTICATED", "ApiKey", "Person", "Principal", "Scope", "person_of"]

MAX_NAME = 200
"""Characters of a user's, device's or key's name."""


class Scope(StrEnum):
    """What a caller may use: /v1/scans, /training or /admin."""

    SCANS = "scans"
    TRAINING = "training"
    OPS = "ops"


DEFAULT_SCOPES = frozenset({Scope.SCANS, Scope.TRAINING})
"""Of a user's token without a `scope` claim: everything but operations."""


@dataclass(frozen=True)
class Person:
    """A user or a device, by the app's identifier. It is stored in the table `subjects` alone, and is in no event."""

    kind: Literal["user", "device"]
    reference: str


@dataclass(frozen=True)
class Principal:
    """An authenticated caller."""

    name: str
    scopes: frozenset[Scope]
    user_id: str | None = None
    """Set when the caller is one user (JWT), who acts for no other user."""
    open_access: bool = False
    """Whether the caller has no key and acts for no user (SAVO_APP_ANONYMOUS)."""
    limited: bool = True
    """Whether requests are counted against the rate limit."""

    def require_scope(self, scope: Scope) -> None:
        """Raises `ForbiddenError`."""
        if scope not in self.scopes:
            raise ForbiddenError(
                f"this request needs the scope {scope.value!r}; the caller has {_names(self.scopes)}", scope=scope.value
            )

    def resolve_user(self, user_id: str | None) -> str | None:
        """The user that a request is about. Raises `ForbiddenError` when a user names another user."""
        if self.user_id is None:
            return user_id
        if user_id not in (None, self.user_id):
            raise ForbiddenError("user_id is not the user of the token; leave it out, or send the token's `sub`")
        return self.user_id


UNAUTHENTICATED = Principal("anybody", frozenset(Scope), limited=False)
"""Every caller where SAVO_AUTH is none."""


@dataclass(frozen=True)
class ApiKey:
    """An API key as it is stored: with a hash of its secret."""

    key_id: str
    name: str
    secret_sha256: str
    scopes: frozenset[Scope]
    created_at: datetime
    revoked_at: datetime | None = None


def _names(scopes: frozenset[Scope]) -> str:
    return ", ".join(sorted(scope.value for scope in scopes)) or "no scope"


def person_of(user_id: str | None, device_id: str | None) -> Person | None:
    """The user if one is named, else the device; None without either."""
    if user_id:
        return Person("user", user_id)
    return Person("device", device_id) if device_id else None
