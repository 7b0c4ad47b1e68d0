"""Configured scans: from environment variables to a finished scan, with a provider's test server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import pytest

from libs.providers.tests.wire import Reply, Wire, gemini, openai_answer
from savo_contracts.scans import Arm, FailureCode, ScanCompleted, ScanFailed, ServedBy
from savo_runtime.service import Runtime
from savo_runtime.settings import load_settings
from savo_runtime.testing import FakeClock, memory_runtime
from savo_vision.adapters.results import StoredResults
from savo_vision.app import CALL_SECONDS, build_pipeline, build_routing_updates
from savo_vision.scan_pipeline import ScanPipeline
from savo_vision.settings import VisionSettings
from services.vision.tests.conftest import KEY, NOW, model_ref, photo_bytes, request, rollout

Build = Callable[..., ScanPipeline]


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=FakeClock(NOW)) as made:
        await made.store.put(KEY, photo_bytes(4000, 3000))
        yield made


@pytest.fixture
async def build(runtime: Runtime, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Build]:
    """Builds the pipeline from environment variables. A second call is a restart on the same database."""
    async with AsyncExitStack() as stack:

        def start(**environment: Any) -> ScanPipeline:
            for name, value in {
                "SAVO_GOOGLE_BASE_URL": wire.url,
                "SAVO_OPENAI_BASE_URL": wire.url,
                **environment,
            }.items():
                monkeypatch.setenv(name, value)
            settings = load_settings(VisionSettings)
            threads = stack.enter_context(ThreadPoolExecutor(1))
            scan = build_pipeline(
                settings, runtime, build_routing_updates(settings, runtime), StoredResults(runtime.database), threads
            )
            stack.push_async_callback(scan.provider.close)
            return scan

        yield start


async def completed(scan: ScanPipeline, scan_id: str = "s1", subject: str = "u1") -> ScanCompleted:
    done = await scan(request(scan_id, subject))
    assert isinstance(done, ScanCompleted)
    return done


@pytest.mark.parametrize("sdk", ["genai", "generativeai"])
async def test_a_scan_costs_its_tokens_at_the_configured_price(build: Build, wire: Wire, sdk: str) -> None:
    wire.answer(Reply(gemini() | {"modelVersion": "gemini-then"}))
    done = await completed(build(SAVO_GOOGLE_SDK=sdk, SAVO_MODEL_PRICES='{"gemini-3.5-flash-lite": [2.0, 20.0]}'))
    assert done.cost_usd == pytest.approx(1200 * 2e-6 + 200 * 20e-6)
    assert (done.model_version, len(done.items)) == ("gemini-then", 2)


async def test_a_model_without_a_configured_price_has_that_of_the_table(build: Build, wire: Wire) -> None:
    wire.answer(Reply(gemini()))
    assert (await completed(build())).cost_usd == pytest.approx(1200 * 0.30e-6 + 200 * 2.50e-6)


async def test_openai_has_its_own_price(build: Build, wire: Wire) -> None:
    wire.answer(Reply(openai_answer()))
    done = await completed(build(SAVO_VISION_PROVIDER="openai", SAVO_MODEL_PRICES='{"gpt-5.4-mini": [1.0, 10.0]}'))
    assert done.served_by == ServedBy.OPENAI
    assert done.cost_usd == pytest.approx(900 * 1e-6 + 120 * 10e-6)


async def test_the_daily_budget_survives_a_restart_and_refuses_before_a_call(build: Build, wire: Wire) -> None:
    limits = {"SAVO_GOOGLE_DAILY_BUDGET_USD": "0.01", "SAVO_MODEL_PRICES": '{"gemini-3.5-flash-lite": [2.0, 20.0]}'}
    wire.answer(Reply(gemini()))
    assert (await completed(build(SAVO_MODEL_PRICES=limits["SAVO_MODEL_PRICES"]), "before")).cost_usd == pytest.approx(
        0.0064
    )
    refused = await build(**limits)(request("after"))
    assert isinstance(refused, ScanFailed)
    assert (refused.code, refused.cost_usd) == (FailureCode.BUDGET_EXHAUSTED, 0.0)
    assert refused.message == "Today's budget for Google is used up. Please try again tomorrow."
    assert len(wire.requests) == 1


async def test_a_call_with_all_its_attempts_has_ten_seconds(build: Build) -> None:
    provider: Any = build().provider
    assert provider.calls.seconds == CALL_SECONDS == 10.0


async def test_the_raw_answer_is_stored_for_replays(build: Build, wire: Wire, runtime: Runtime) -> None:
    wire.answer(Reply(gemini() | {"modelVersion": "gemini-then"}))
    await completed(build())
    raw = await StoredResults(runtime.database).raw_answer("s1")
    assert raw
    assert (raw.provider, raw.model, raw.prompt) == ("Google", "gemini-then", "1")
    assert "Cherry tomatoes" in raw.text


async def test_a_setting_pins_a_subject_to_an_arm(build: Build, wire: Wire) -> None:
    wire.answer(Reply(gemini()))
    scan = build(SAVO_USE_CUSTOM_VISION="true", SAVO_VISION_PINS='{"anna": "candidate", "ben": "baseline"}')
    scan.router.adopt(rollout(1, 0.5, candidate=model_ref("v2")))
    assert scan.router.choose("anna").arm is Arm.CANDIDATE
    assert scan.router.choose("ben").arm is Arm.BASELINE
    done = await completed(scan, subject="ben")
    assert (done.assigned_arm, done.experiment) == (Arm.BASELINE, None)


@pytest.mark.parametrize("pins", ['{"anna": "gold"}', "anna", '["anna"]'])
def test_a_pin_to_an_unknown_arm_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pins: str
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    monkeypatch.setenv("SAVO_VISION_PINS", pins)
    with pytest.raises(SystemExit):
        load_settings(VisionSettings)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "SAVO_VISION_PINS" in line
