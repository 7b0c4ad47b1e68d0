"""Secrets never reach a log: by the name of a field, by their value, and by the forms that secrets have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, SecretStr

__all__ = ["MASK", "Redaction", "secrets_of"]

MASK = "***"

_NAMES = re.compile(
    r"(^|[_.-])(authorization|api[_-]?key|access[_-]?key|secret([_-].*)?|password|passwd|token|cookie|set-cookie|credentials?|jwt)$",
    re.IGNORECASE,
)
_FORMS = [
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), MASK),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"\b(sk-[\w-]{16,}|AIza[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)"), MASK),
    (re.compile(r"((?:api_?key|password|secret|token|X-Amz-Signature)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
]
_HINT = re.compile(r"://|[=]|\b(?:bearer|basic)\b|sk-|AIza|eyJ", re.IGNORECASE)
"""What every form has in it: most text is looked through once in the place of four times."""

_LEAST_SECRET = 6
"""Shorter values are words that would mask innocent text."""


@lru_cache(maxsize=4096)
def _says_secret(name: str) -> bool:
    return _NAMES.search(name) is not None


class Redaction:
    """Masks any structure of dicts, lists and strings."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted(
            (re.escape(secret) for secret in set(secrets) if len(secret) >= _LEAST_SECRET), key=len, reverse=True
        )
        self._known = re.compile("|".join(known)) if known else None

    def text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        if not _HINT.search(text):
            return text
        for form, mask in _FORMS:
            text = form.sub(mask, text)
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
        """A field whose name says secret is masked whole."""
        return MASK if _says_secret(name) and value not in (None, "") else self.value(value)


def secrets_of(settings: BaseModel) -> list[str]:
    """Every secret that the settings hold, and the password within a URL that is one."""
    found = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return found + [match.group(1) for secret in found if (match := re.search(r"://[^/:@]*:([^/@]+)@", secret))]
