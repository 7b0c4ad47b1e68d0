"""Verification of users' tokens (JWT, RFC 7519) by a configured key or by the keys of a JWKS address (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jwt

from savo_gateway.access.records import DEFAULT_SCOPES, MAX_NAME, Principal, Scope
from savo_gateway.errors import UnauthorizedError
from savo_gateway.ports import SigningKeys

__all__ = ["JWKS_ALGORITHMS", "LEEWAY", "JwtKey", "TokenVerifier"]

JWKS_ALGORITHMS = ("RS256", "ES256")
"""Asymmetric only: a published key must never verify an HMAC."""

LEEWAY = timedelta(seconds=60)
"""Accepted difference between our clock and the issuer's."""


@dataclass(frozen=True)
class JwtKey:
    """A configured key: a shared secret (HS256) or a PEM public key (RS256, ES256, EdDSA)."""

    value: str
    algorithm: str = "HS256"


@dataclass(frozen=True, kw_only=True)
class TokenVerifier:
    """From a token to the user that it names. At least one of `key` and `published_keys` is set."""

    key: JwtKey | None = None
    published_keys: SigningKeys | None = None
    audience: str | None = None
    """None accepts any."""
    issuer: str | None = None
    """None accepts any."""

    async def __call__(self, token: str) -> Principal:
        """Raises `UnauthorizedError`, and `DependencyDownError` while a key is needed that cannot be fetched."""
        try:
            claims = self._claims(token, *await self._key_for(jwt.get_unverified_header(token)))
        except jwt.InvalidTokenError as error:
            raise UnauthorizedError(f"the token is not valid: {error}; sign in again for a new one") from error
        user_id = claims["sub"]
        if not 0 < len(user_id) <= MAX_NAME:
            raise UnauthorizedError(f"the token's `sub` has {len(user_id)} characters; 1 to {MAX_NAME} are allowed")
        return Principal(f"user:{user_id}", _scopes(claims), user_id=user_id)

    async def _key_for(self, header: Mapping[str, Any]) -> tuple[str | jwt.PyJWK, str]:
        """The key for a token with this header, and the only algorithm that it may be used with."""
        algorithm = header.get("alg")
        if self.key and algorithm == self.key.algorithm:
            return self.key.value, self.key.algorithm
        if self.published_keys and algorithm in JWKS_ALGORITHMS:
            published = await self.published_keys.find(header.get("kid"))
            if published is not None and published.algorithm_name == algorithm:
                return published, algorithm
            raise jwt.InvalidTokenError("its signing key is not among the published ones")
        raise jwt.InvalidAlgorithmError(f"the algorithm {str(algorithm)[:20]!r} is not allowed")

    def _claims(self, token: str, key: str | jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=LEEWAY,
            # Without `verify_aud`, PyJWT refuses a token with an audience where none is configured.
            options={"require": ["exp", "sub"], "verify_aud": self.audience is not None},
        )


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Known scopes of the token's `scope` claim. Unknown ones are ignored."""
    if "scope" not in claims:
        return DEFAULT_SCOPES
    named = str(claims["scope"]).split()
    return frozenset(scope for scope in Scope if scope.value in named)
