"""`ask_confirmation`: which answers the app should ask its user about."""

from __future__ import annotations

from typing import Any

import pytest

from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ScanCompleted, ScanRequested
from savo_gateway.scans.confirmation_asks import AskPolicy, AskRule, ConfirmationAsks, drawn_number, weight_of
from savo_gateway.scans.records import AskLimits
from savo_runtime.testing import FakeClock
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

LIMITS = AskLimits(per_minute=10, per_day=100)
BOXES = {"tomato": 5_000, "okra": 3}


class FixedCounts:
    reads = 0

    async def boxes_by_label(self) -> dict[str, int]:
        self.reads += 1
        return BOXES


def answer(scan_id: str, confidence: float = 0.9, label: str = "tomato") -> ScanCompleted:
    now = FakeClock()()
    image = ImageRef(key="scans/aa/a.jpg", sha256="a" * 64, bytes=1, width=64, height=48)
    moments = {"requested_at": now, "expires_at": now}
    requested = ScanRequested(scan_id=scan_id, subject="anna", image=image, **moments)
    item = tomato(label=label).model_copy(update={"confidence": confidence})
    return completed(requested, item, threshold=0.6)


async def asked(rule: AskRule, share: float, answers: list[ScanCompleted]) -> list[str]:
    asks = ConfirmationAsks(AskPolicy(rule, share, LIMITS), FixedCounts(), FakeClock())
    return [scan.scan_id for scan in answers if await asks.limits_for(scan)]


async def test_a_share_of_the_answers_is_drawn_by_the_scan_alone() -> None:
    answers = [answer(f"s{number}") for number in range(2_000)]
    chosen = await asked(AskRule.RANDOM, 0.25, answers)
    assert len(chosen) / len(answers) == pytest.approx(0.25, abs=0.03)
    assert await asked(AskRule.RANDOM, 0.25, answers[::-1]) == chosen[::-1]
    assert set(chosen) <= set(await asked(AskRule.RANDOM, 0.5, answers)), "a greater share keeps those of a smaller one"
    assert 0 <= drawn_number("s1") < 1


async def test_answers_near_the_threshold_and_rare_classes_come_first_at_the_same_share() -> None:
    sure, near, rare = ("tomato", 0.99), ("tomato", 0.62), ("okra", 0.62)
    kinds = [sure, near, rare] * 700
    answers = [answer(f"s{number}", confidence, label) for number, (label, confidence) in enumerate(kinds)]
    chosen = await asked(AskRule.CLOSE_TO_THRESHOLD, 0.25, answers)
    assert len(chosen) / len(answers) == pytest.approx(0.25, abs=0.04)
    counts = {kind: sum(kinds[int(scan_id[1:])] == kind for scan_id in chosen) for kind in (sure, near, rare)}
    assert counts[sure] * 1.5 < counts[near] < counts[rare]
    assert weight_of(answer("s", 0.6, "okra"), BOXES) > 0.95 > weight_of(answer("s", 1.0), BOXES)


async def test_the_counts_of_classes_are_read_every_ten_minutes() -> None:
    counts, clock = FixedCounts(), FakeClock()
    asks = ConfirmationAsks(AskPolicy(AskRule.CLOSE_TO_THRESHOLD, 0.5, LIMITS), counts, clock)
    for seconds in (0, 1, 600):
        clock.advance(seconds)
        await asks.limits_for(answer("s1"))
    assert counts.reads == 2


class TestEveryAnswer:
    @pytest.fixture
    def gateway_settings(self) -> Any:
        return {"ask_share": 1.0, "ask_per_minute": 2, "ask_per_day": 3}

    async def test_the_answer_is_asked_about_until_it_is_confirmed_within_the_limits(
        self, gateway: GatewayHarness
    ) -> None:
        scans = [await self.answered(gateway, seed) for seed in range(3)]
        shown = [await self.asks(gateway, scan.scan_id) for scan in scans]
        assert shown == [True, True, False], "two in a minute"
        await gateway.deliver(completed(scans[2], tomato()))
        assert [await self.asks(gateway, scan.scan_id) for scan in scans] == shown, "it is decided once"
        gateway.clock.advance(60)
        later = [await self.answered(gateway, seed) for seed in range(3, 5)]
        assert [await self.asks(gateway, scan.scan_id) for scan in later] == [True, False], "three in a day"
        gateway.clock.advance(days=1)
        assert await self.asks(gateway, (await self.answered(gateway, 6)).scan_id)
        await gateway.http.post(f"/v1/scans/{scans[0].scan_id}/confirmation", json={"all_correct": True})
        assert not await self.asks(gateway, scans[0].scan_id)

    async def answered(self, gateway: GatewayHarness, seed: int) -> ScanRequested:
        requested = await gateway.scan(photo(seed=seed))
        assert not await self.asks(gateway, requested.scan_id), "there is no answer yet"
        await gateway.deliver(completed(requested, tomato()))
        return requested

    async def asks(self, gateway: GatewayHarness, scan_id: str) -> Any:
        return (await gateway.http.get(f"/v1/scans/{scan_id}")).json()["ask_confirmation"]
