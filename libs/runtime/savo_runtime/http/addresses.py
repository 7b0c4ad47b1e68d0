"""Addresses of services that run in separate containers, from SAVO_SERVICES, which compose and Kubernetes set."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from savo_runtime.errors import FatalError

__all__ = ["SERVICES_VARIABLE", "WrongServicesError", "named_services"]

SERVICES_VARIABLE = "SAVO_SERVICES"

_ENTRY = re.compile(r"([a-z]+)=(https?://[^\s,]+)")


class WrongServicesError(FatalError):
    """SAVO_SERVICES cannot be parsed."""


def named_services(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Base URLs by service name; empty when the variable is unset. Raises `WrongServicesError`."""
    found = {}
    for entry in filter(None, (part.strip() for part in environment.get(SERVICES_VARIABLE, "").split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise WrongServicesError(
                f"{SERVICES_VARIABLE}: {entry!r} makes no sense:"
                " write gateway=http://HOST:PORT,vision=http://HOST:PORT,…"
            )
        found[match[1]] = match[2].rstrip("/")
    return found
