"""Google's older SDK in the running product: a scan through `google-generativeai`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from libs.providers.tests.wire import Reply, Wire, gemini, serving
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.wheel import running_wheel

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("google.generativeai") is None,
        reason="google-generativeai is not installed (uv sync --extra generativeai)",
    ),
]


async def test_the_product_scans_a_photo_with_google_s_older_sdk(tmp_path: Path) -> None:
    async with serving(Wire()) as google:
        google.answer(Reply(gemini() | {"modelVersion": "gemini-then"}))
        scan = await asyncio.to_thread(scan_once, tmp_path, google.url)
    assert (scan["status"], scan["result"]["served_by"]) == ("completed", "google")
    assert scan["result"]["model_version"] == "gemini-then"
    assert [item["label"] for item in scan["result"]["items"]] == ["cherry_tomato", "milk"]
    (headers,) = google.headers
    assert headers["x-goog-api-client"].startswith("genai-py/"), "the older SDK names itself so"


def scan_once(folder: Path, google_url: str) -> dict[str, Any]:
    settings = {"SAVO_GOOGLE_SDK": "generativeai", "SAVO_GOOGLE_BASE_URL": google_url, "GOOGLE_API_KEY": "k"}
    photo = next(iter(draw_scenes(1, seed=5))).jpeg
    with running_wheel(folder / "savo", None, settings, "--one-process") as wheel:
        answer = httpx2.post(
            f"{wheel.url}/v1/scans?wait=30",
            files={"image": ("photo.jpg", photo, "image/jpeg")},
            timeout=90,
            trust_env=False,
        )
    assert answer.status_code < 300, answer.text
    scan: dict[str, Any] = json.loads(answer.text)
    return scan
