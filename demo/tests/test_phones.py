"""Phones against a gateway of a few lines, over real HTTP messages."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_demo.errors import PhoneError
from savo_demo.phones import Errand, Phones, Visit, as_people_say

BOX = BoundingBox(x=0.1, y=0.1, width=0.2, height=0.2)
EGG = TruthBox("egg", BOX)


@dataclass
class Gateway:
    """Answers scans with `items`; the first `busy` requests get 503, the first `slow` looks say queued."""

    items: list[dict[str, Any]]
    busy: int = 0
    slow: int = 0
    refuse: str | None = None
    fail: str | None = None
    confirmations: list[dict[str, Any]] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.busy:
            self.busy -= 1
            return httpx2.Response(503, headers={"retry-after": "0"})
        if request.url.path.endswith("/confirmation"):
            self.confirmations.append(json.loads(request.content))
            return httpx2.Response(202, json={})
        if request.method == "POST":
            self.forms.append(request.content.decode(errors="replace"))
            if self.refuse:
                return httpx2.Response(422, json={"code": self.refuse})
        return httpx2.Response(202 if self.slow else 200, json=self._scan())

    def _scan(self) -> dict[str, Any]:
        if self.slow:
            self.slow -= 1
            return {"scan_id": "s1", "status": "queued", "result": None}
        if self.fail:
            return {"scan_id": "s1", "status": "failed", "result": None, "error": {"code": self.fail}}
        result = {
            "items": self.items,
            "assigned_arm": "baseline",
            "served_by": "google",
            "model_version": "m",
            "experiment": None,
            "duration_ms": 5.0,
            "cost_usd": 0.001,
        }
        return {"scan_id": "s1", "status": "completed", "result": result}


def item(label: str) -> dict[str, Any]:
    return {"label": label, "bbox": BOX.model_dump(), "confidence": 0.9}


async def visit(gateway: Gateway, truth: tuple[TruthBox, ...] = (EGG,), consent: bool | None = None) -> Visit:
    async with httpx2.AsyncClient(base_url="http://gateway", transport=httpx2.MockTransport(gateway)) as client:
        return await Phones(client, random.Random(1)).visit(Errand("anna", b"photo", truth, consent=consent))


async def test_a_right_answer_is_confirmed() -> None:
    gateway = Gateway([item("egg")])
    done = await visit(gateway)
    assert (done.confirmed, done.corrected) == (True, False)
    assert gateway.confirmations in (
        [{"all_correct": True}],
        [{"items": [{"label": "egg", "action": "kept", "bbox": BOX.model_dump()}]}],
    )


async def test_a_wrong_name_is_corrected_from_the_truth() -> None:
    gateway = Gateway([item("lemon")])
    assert (await visit(gateway)).corrected
    assert gateway.confirmations[0]["items"] == [
        {"label": "egg", "action": "renamed", "from_label": "lemon", "bbox": BOX.model_dump()}
    ]


async def test_an_empty_answer_is_never_called_all_correct() -> None:
    gateway = Gateway([])
    await visit(gateway, truth=())
    assert gateway.confirmations == [{"items": []}]


async def test_a_refused_photo_is_told_by_its_code() -> None:
    gateway = Gateway([], refuse="upload-truncated")
    assert (await visit(gateway)).refused == "upload-truncated"
    assert gateway.confirmations == []


async def test_a_failed_scan_is_not_confirmed() -> None:
    gateway = Gateway([], fail="provider-failed")
    assert (await visit(gateway)).failed == "provider-failed"
    assert gateway.confirmations == []


async def test_a_busy_gateway_is_asked_again_and_a_slow_one_waited_for() -> None:
    gateway = Gateway([item("egg")], busy=2, slow=1)
    assert (await visit(gateway)).confirmed


async def test_consent_is_sent_when_it_was_asked_for() -> None:
    gateway = Gateway([item("egg")])
    await visit(gateway, consent=False)
    await visit(gateway)
    assert 'name="consent"\r\n\r\nfalse' in gateway.forms[0]
    assert "consent" not in gateway.forms[1]


async def test_a_gateway_that_stays_wrong_is_an_error_with_its_words() -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500, text="a bug")

    async with httpx2.AsyncClient(base_url="http://gateway", transport=httpx2.MockTransport(broken)) as client:
        with pytest.raises(PhoneError, match="500: a bug"):
            await Phones(client, random.Random(1)).visit(Errand("anna", b"photo", (EGG,)))


async def test_every_errand_is_run_once_until_told_to_stop() -> None:
    seen: list[Visit] = []
    async with httpx2.AsyncClient(
        base_url="http://gateway", transport=httpx2.MockTransport(Gateway([item("egg")]))
    ) as client:
        phones = Phones(client, random.Random(1), at_once=3)
        assert await phones.run([Errand(f"user-{number}", b"photo", (EGG,)) for number in range(10)], seen.append) == 10
        assert len(seen) == 10
        stopped = await phones.run(
            (Errand(f"user-{number}", b"photo", (EGG,)) for number in range(1000)),
            seen.append,
            until=lambda: len(seen) >= 15,
        )
    assert stopped <= 8


def test_a_folders_names_are_brought_to_the_catalogues() -> None:
    assert as_people_say([TruthBox("Zucchini", BOX)])[0].label == as_people_say([TruthBox("courgette", BOX)])[0].label
