"""API keys: `savo_<id>_<secret>`. The id finds the stored key, the secret proves it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256

from savo_gateway.access.records import ApiKey, Scope
from savo_gateway.ports import KeyStore

__all__ = ["create_key", "find_key", "is_api_key", "key_id_of"]

_PREFIX = "savo"


async def create_key(
    store: KeyStore, name: str, scopes: Iterable[Scope], clock: Callable[[], datetime]
) -> tuple[ApiKey, str]:
    """A new key and its plain text, which is shown this once and stored nowhere."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    # The secret has 256 random bits: a plain hash is enough, and quick enough for every request.
    key = ApiKey(key_id, name, _hash(secret), frozenset(scopes), clock())
    await store.add_key(key)
    return key, f"{_PREFIX}_{key_id}_{secret}"


async def find_key(store: KeyStore, text: str) -> ApiKey | None:
    """The key with this plain text; None when it is unknown or revoked."""
    prefix, key_id, secret = _parts(text)
    key = await store.find_key(key_id) if prefix == _PREFIX and key_id else None
    if key is None or key.revoked_at or not hmac.compare_digest(key.secret_sha256, _hash(secret)):
        return None
    return key


def is_api_key(text: str) -> bool:
    """Whether the text has an API key's form. No JWT begins like one."""
    return text.startswith(f"{_PREFIX}_")


def key_id_of(text: str) -> str:
    """The id of a key by its plain text; any other text is taken for the id itself."""
    prefix, key_id, _ = _parts(text)
    return key_id if prefix == _PREFIX and key_id else text


def _parts(text: str) -> tuple[str, str, str]:
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    return prefix, key_id, secret


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
