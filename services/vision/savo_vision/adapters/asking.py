"""A photo's way to a provider, the same for all of them: shrunk, metered, asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from savo_detection.photos.downscaling import downscaled_jpeg
from savo_runtime.telemetry.metrics import PROVIDER_PHOTO_BYTES, PROVIDER_TOKENS
from savo_vision.adapters.calling import Calls
from savo_vision.adapters.prompt import MAX_SIDE
from savo_vision.costs import Usage
from savo_vision.detections import Answer
from savo_vision.errors import ProviderError

__all__ = ["ask_about"]


async def ask_about(photo: bytes, calls: Calls, ask: Callable[[bytes, float], Awaitable[Answer]]) -> Answer:
    """`ask` is given a small upright JPEG and the seconds it may take. Raises what `Calls.run` raises, and `PhotoError`s."""
    jpeg = await asyncio.to_thread(downscaled_jpeg, photo, MAX_SIDE)

    async def attempt(seconds: float) -> Answer:
        PROVIDER_PHOTO_BYTES.labels(calls.provider).inc(len(jpeg))
        return await ask(jpeg, seconds)

    try:
        answer = await calls.run(attempt)
    except ProviderError as fault:
        _count(calls.provider, fault.usage)
        raise
    _count(calls.provider, answer.usage)
    return answer


def _count(provider: str, usage: Usage) -> None:
    PROVIDER_TOKENS.labels(provider, "input").inc(usage.input_tokens)
    PROVIDER_TOKENS.labels(provider, "output").inc(usage.output_tokens)
