"""A sandbox needs no provider key and never calls a provider."""

from __future__ import annotations

import pytest

from savo_providers.errors import ProviderError
from savo_runtime.settings import load_settings
from savo_vision.app import build_provider
from savo_vision.settings import VisionSettings


@pytest.mark.parametrize("environment", [{}, {"GOOGLE_API_KEY": "k"}, {"SAVO_VISION_PROVIDER": "openai"}])
async def test_a_sandbox_needs_no_key_and_calls_no_provider(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name in (
        "GOOGLE_API_KEY",
        "OPENAI_API_KEY",
        "SAVO_GOOGLE_BASE_URL",
        "GOOGLE_GEMINI_BASE_URL",
        "SAVO_VISION_PROVIDER",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environment | {"SAVO_SANDBOX": "look"}).items():
        monkeypatch.setenv(name, value)
    provider = build_provider(load_settings(VisionSettings))
    with pytest.raises(ProviderError, match="was not asked: a sandbox spends nothing"):
        await provider.detect(b"a photo")
    assert provider.served_by == environment.get("SAVO_VISION_PROVIDER", "google")
    await provider.close()
