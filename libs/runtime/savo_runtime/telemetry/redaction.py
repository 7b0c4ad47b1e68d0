"""Redaction of secrets in logs and messages: by field name, by known value, and by pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, SecretStr

__all__ = ["MASK", "Redaction", "secrets_of"]

MASK = "***"

_SECRET_NAMES = re.compile(
    r"(^|[_.-])(authorization|api[_-]?key|access[_-]?key|secret([_-].*)?|password|passwd|token|cookie|set-cookie"
    r"|credentials?|jwt)$",
    re.IGNORECASE,
)
_SECRET_PATTERNS = [
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), MASK),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(sk-[\w-]{16,}|AIza[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)"), MASK),
    (re.compile(r"((?:api_?key|password|secret|token|X-Amz-Signature)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
]
_HINT = re.compile(r"://|[=]|\b(?:bearer|basic)\b|sk-|AIza|eyJ", re.IGNORECASE)
"""Matches any text with a secret pattern, so that most text is searched once instead of four times."""

_MIN_SECRET_LENGTH = 6
"""Shorter secrets are not masked by value, because they occur in ordinary text."""


@lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


class Redaction:
    """Masks secrets in text and in nested dicts and lists. `secrets` are known values to mask."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        maskable = {secret for secret in secrets if len(secret) >= _MIN_SECRET_LENGTH}
        known = sorted((re.escape(secret) for secret in maskable), key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        if not _HINT.search(text):
            return text
        for pattern, mask in _SECRET_PATTERNS:
            text = pattern.sub(mask, text)
        return text

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode(errors="replace"))
        if isinstance(value, Mapping):
            return {name: self.field(str(name), item) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))

    def field(self, name: str, value: Any) -> Any:
        """The masked value of a field; a field with a secret name, such as `api_key`, is masked completely."""
        return MASK if _is_secret_name(name) and value not in (None, "") else self.value(value)


def secrets_of(settings: BaseModel) -> list[str]:
    """Every secret in the settings, and the password in each secret URL."""
    found = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return found + [match.group(1) for secret in found if (match := re.search(r"://[^/:@]*:([^/@]+)@", secret))]
