"""Photo requests to a provider: the photo is downscaled and sent, its bytes and tokens are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from savo_detection.photos.downscaling import downscaled_jpeg
from savo_providers.calls import Calls
from savo_providers.errors import ProviderError
from savo_providers.prices import Usage
from savo_runtime.telemetry.metrics import PROVIDER_PHOTO_BYTES, PROVIDER_TOKENS
from savo_vision.adapters.prompt import MAX_SIDE
from savo_vision.detections import Answer

__all__ = ["send_photo"]


async def send_photo(photo: bytes, calls: Calls, ask: Callable[[bytes, float], Awaitable[Answer]]) -> Answer:
    """Answer to a photo of any size. `ask` gets an upright JPEG of at most `MAX_SIDE` pixels and a deadline in seconds.

    Raises the errors of `Calls.run`, and `PhotoError`.
    """
    jpeg = await asyncio.to_thread(downscaled_jpeg, photo, MAX_SIDE)
    provider = calls.provider.name

    async def attempt(seconds: float) -> Answer:
        PROVIDER_PHOTO_BYTES.labels(provider).inc(len(jpeg))
        return await ask(jpeg, seconds)

    try:
        answer = await calls.run(attempt)
    except ProviderError as error:
        _count(provider, error.usage)
        raise
    _count(provider, answer.usage)
    return answer


def _count(provider: str, usage: Usage) -> None:
    PROVIDER_TOKENS.labels(provider, "input").inc(usage.input_tokens)
    PROVIDER_TOKENS.labels(provider, "output").inc(usage.output_tokens)
