"""Simulated phones against a small gateway, over real HTTP messages."""

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
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, with_catalogue_labels

BOX = BoundingBox(x=0.1, y=0.1, width=0.2, height=0.2)
EGG = TruthBox("egg", BOX)


@dataclass
class Gateway:
    """Answers scans with `items`. The first `busy` requests get 503; the first `slow` answers are queued."""

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


async def scan_and_confirm(
    gateway: Gateway, truth: tuple[TruthBox, ...] = (EGG,), consent: bool | None = None
) -> ScanOutcome:
    async with httpx2.AsyncClient(base_url="http://gateway", transport=httpx2.MockTransport(gateway)) as client:
        return await SimulatedUsers(client, random.Random(1)).scan_and_confirm(
            Upload("anna", b"photo", truth, consent=consent)
        )


async def test_a_correct_answer_is_confirmed() -> None:
    gateway = Gateway([item("egg")])
    done = await scan_and_confirm(gateway)
    assert (done.confirmed, done.corrected) == (True, False)
    assert gateway.confirmations in (
        [{"all_correct": True}],
        [{"items": [{"label": "egg", "action": "kept", "bbox": BOX.model_dump()}]}],
    )


async def test_a_wrong_name_is_corrected_from_the_truth() -> None:
    gateway = Gateway([item("lemon")])
    assert (await scan_and_confirm(gateway)).corrected
    assert gateway.confirmations[0]["items"] == [
        {"label": "egg", "action": "renamed", "from_label": "lemon", "bbox": BOX.model_dump()}
    ]


async def test_an_empty_answer_is_not_confirmed_as_all_correct() -> None:
    gateway = Gateway([])
    await scan_and_confirm(gateway, truth=())
    assert gateway.confirmations == [{"items": []}]


async def test_a_refused_photo_has_its_problem_code() -> None:
    gateway = Gateway([], refuse="upload-truncated")
    assert (await scan_and_confirm(gateway)).refused == "upload-truncated"
    assert gateway.confirmations == []


async def test_a_failed_scan_is_not_confirmed() -> None:
    gateway = Gateway([], fail="provider-failed")
    assert (await scan_and_confirm(gateway)).failed == "provider-failed"
    assert gateway.confirmations == []


async def test_a_busy_gateway_is_retried_and_a_queued_scan_is_polled() -> None:
    gateway = Gateway([item("egg")], busy=2, slow=1)
    assert (await scan_and_confirm(gateway)).confirmed


async def test_consent_is_sent_only_if_it_is_set() -> None:
    gateway = Gateway([item("egg")])
    await scan_and_confirm(gateway, consent=False)
    await scan_and_confirm(gateway)
    assert 'name="consent"\r\n\r\nfalse' in gateway.forms[0]
    assert "consent" not in gateway.forms[1]


async def test_a_failing_gateway_is_an_error_with_its_message() -> None:
    def broken(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500, text="a bug")

    async with httpx2.AsyncClient(base_url="http://gateway", transport=httpx2.MockTransport(broken)) as client:
        with pytest.raises(PhoneError, match="500: a bug"):
            await SimulatedUsers(client, random.Random(1)).scan_and_confirm(Upload("anna", b"photo", (EGG,)))


async def test_every_upload_is_sent_once_until_the_stop_condition_holds() -> None:
    outcomes: list[ScanOutcome] = []
    async with httpx2.AsyncClient(
        base_url="http://gateway", transport=httpx2.MockTransport(Gateway([item("egg")]))
    ) as client:
        simulated_users = SimulatedUsers(client, random.Random(1), at_once=3)
        assert (
            await simulated_users.run(
                [Upload(f"user-{number}", b"photo", (EGG,)) for number in range(10)], outcomes.append
            )
            == 10
        )
        assert len(outcomes) == 10
        stopped = await simulated_users.run(
            (Upload(f"user-{number}", b"photo", (EGG,)) for number in range(1000)),
            outcomes.append,
            until=lambda: len(outcomes) >= 15,
        )
    assert stopped <= 8


def test_class_names_of_a_folder_become_catalogue_labels() -> None:
    assert (
        with_catalogue_labels([TruthBox("Zucchini", BOX)])[0].label
        == with_catalogue_labels([TruthBox("courgette", BOX)])[0].label
    )
