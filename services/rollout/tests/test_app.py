"""Composition root: the wired service, from its settings to a rollback."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from savo_contracts.documents import Alias, alias_key
from savo_contracts.envelope import Envelope, Event
from savo_contracts.measures import LATENCY
from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.topics import TOPICS, topic_of
from savo_rollout.app import DEFINITION, build, step_policy
from savo_rollout.settings import RolloutSettings
from savo_runtime.service import Runtime, Service
from savo_runtime.settings import load_settings
from savo_runtime.testing import memory_runtime, published_by_outbox
from services.rollout.tests.events import confirmed, registered


async def deliver(service: Service, event: Event) -> None:
    handler = next(subscription for subscription in service.subscriptions if subscription.topic is topic_of(event))
    await handler.handle(Envelope.new(event, "test", event_id=uuid4()))


async def test_it_consumes_exactly_the_topics_of_the_registry() -> None:
    async with memory_runtime("rollout", migrations=DEFINITION.migrations) as runtime:
        service = build(RolloutSettings(), runtime)
    assert {subscription.topic for subscription in service.subscriptions} == {
        topic for topic in TOPICS if "rollout" in topic.consumers
    }


async def test_a_breach_is_published_and_removes_the_challenger() -> None:
    async with memory_runtime("rollout", migrations=DEFINITION.migrations) as runtime:
        service = build(RolloutSettings(use_custom_vision=True), runtime)
        for start in service.on_start:
            await start()
        worker = asyncio.ensure_future(service.workers[0].loop())
        await deliver(service, registered())
        await wait_for_challenger(runtime, "v1")
        await asyncio.gather(
            *[deliver(service, confirmed(f"s{number}", f"u{number}", kept=1, removed=5)) for number in range(40)]
        )
        await wait_for_challenger(runtime, None)
        worker.cancel()
        published = await published_by_outbox(runtime)
    last = [event for event in published if isinstance(event, RolloutChanged)][-1]
    assert (last.state, last.share) == (RolloutState.ROLLED_BACK, 0.0)


async def wait_for_challenger(runtime: Runtime, version: str | None) -> None:
    key = alias_key("challenger")
    async with asyncio.timeout(60):
        while (
            await runtime.store.head(key) is None
            or Alias.model_validate_json(await runtime.store.get(key)).version != version
        ):
            await asyncio.sleep(0.01)


def test_settings_configure_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAVO_ROLLOUT_MIN_CONFIRMED", "20")
    monkeypatch.setenv("SAVO_ROLLOUT_MIN_DAYS_PER_STEP", "0.5")
    monkeypatch.setenv("SAVO_ROLLOUT_MAX_P95_MS", "800")
    policy = step_policy(load_settings(RolloutSettings))
    assert (policy.min_confirmed, timedelta(days=policy.min_days), policy.gates.target(LATENCY)) == (
        20,
        timedelta(hours=12),
        800,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SAVO_CUSTOM_VISION_ROLLOUT", "1.5"), ("SAVO_ROLLOUT_MIN_CONFIRMED", "0"), ("SAVO_ROLLOUT_ALPHA", "nine")],
)
def test_an_invalid_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit, match="2"):
        load_settings(RolloutSettings)
    assert f"{variable}='{value}'" in capsys.readouterr().err
