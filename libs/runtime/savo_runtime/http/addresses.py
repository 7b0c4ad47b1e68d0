"""Where services are reached that run in containers of their own: compose and Kubernetes say so by SAVO_SERVICES."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from savo_runtime.errors import FatalError

__all__ = ["SERVICES_VARIABLE", "WrongServicesError", "named_services"]

SERVICES_VARIABLE = "SAVO_SERVICES"

_ENTRY = re.compile(r"([a-z]+)=(https?://[^\s,]+)")


class WrongServicesError(FatalError):
    """The message names the variable and how it is written."""


def named_services(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """URLs by name; empty where nothing is said. Raises `WrongServicesError`."""
    found = {}
    for entry in filter(None, (part.strip() for part in environment.get(SERVICES_VARIABLE, "").split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise WrongServicesError(
                f"{SERVICES_VARIABLE}: {entry!r} makes no sense: write gateway=http://HOST:PORT,vision=http://HOST:PORT,…"
            )
        found[match[1]] = match[2].rstrip("/")
    return found
