"""Dialects: each vision adapter connected to a test server with its provider's wire format."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from libs.providers.tests import dialects
from libs.providers.tests.dialects import DIALECTS, connection_to, without_waits
from libs.providers.tests.wire import Wire
from savo_providers.adapter_loader import load_adapter
from savo_vision.ports import ProviderDetector

__all__ = ["DIALECTS", "Dialect", "connected_dialect", "picture_of"]

_ADAPTERS = {"genai": "google", "generativeai": "google_legacy", "openai": "openai"}


@dataclass
class Dialect(dialects.Dialect):
    vision: ProviderDetector = field(init=False)


@asynccontextmanager
async def connected_dialect(name: str, wire: Wire, seconds: float = dialects.LONG) -> AsyncIterator[Dialect]:
    """`seconds` is the deadline of a call with all its attempts."""
    dialect = Dialect(name, wire, seconds)
    adapter = load_adapter("savo_vision.adapters", _ADAPTERS[name], dialect.provider)
    dialect.vision = adapter.connect(connection_to(dialect), dialect.calls)
    with without_waits() as dialect.waits:
        yield dialect
    await dialect.vision.close()


def picture_of(body: Any) -> bytes:
    """The first base64 picture anywhere in a request."""
    if isinstance(body, dict):
        if isinstance(data := body.get("data"), str):
            return base64.urlsafe_b64decode(data.replace("+", "-").replace("/", "_"))
        if isinstance(url := body.get("image_url"), str):
            return base64.b64decode(url.partition(",")[2])
        body = list(body.values())
    return next((found for part in body if (found := picture_of(part))), b"") if isinstance(body, list) else b""
