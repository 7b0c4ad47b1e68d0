"""/training/corrections: what people correct, by model version, with its trend."""

from __future__ import annotations

from typing import Any

from savo_contracts.scans import ScanConfirmed
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo

CORRECTED = [
    {"label": "cherry_tomato", "action": "renamed", "from_label": "tomato"},
    {"label": "apple", "action": "kept"},
    {"label": "egg", "action": "removed"},
    {"label": "milk", "action": "added"},
]
KEPT = [{"label": label, "action": "kept"} for label in ("tomato", "apple", "egg")]


async def answered(gateway: GatewayHarness, seed: int, **changes: Any) -> str:
    requested = await gateway.scan(photo(seed=seed))
    items = (tomato(), tomato(0.4, "apple"), tomato(0.7, "egg"))
    await gateway.deliver(completed(requested, *items, **changes))
    return requested.scan_id


async def confirm(gateway: GatewayHarness, scan_id: str, items: list[dict[str, Any]]) -> None:
    answer = await gateway.http.post(f"/v1/scans/{scan_id}/confirmation", json={"items": items})
    assert answer.status_code == 202, answer.text


async def corrections(gateway: GatewayHarness, **query: int) -> Any:
    return (await gateway.http.get("/training/corrections", params=query)).json()


async def test_corrections_are_counted_by_label_and_model_with_their_share_and_trend(gateway: GatewayHarness) -> None:
    await confirm(gateway, await answered(gateway, 1), KEPT)
    gateway.clock.advance(days=35)
    scan_id = await answered(gateway, 2)
    await confirm(gateway, scan_id, CORRECTED)
    await confirm(gateway, scan_id, CORRECTED)
    answer = await corrections(gateway)
    assert answer["weeks"][-1] == "2026-W07"
    assert len(answer["weeks"]) == 8
    shown = {(row["from_label"], row["label"]): row for row in answer["corrections"]}
    assert set(shown) == {("tomato", "cherry_tomato"), ("egg", None), (None, "milk")}
    renamed = shown["tomato", "cherry_tomato"]
    assert {name: renamed[name] for name in ("model_version", "items", "of", "share", "trend")} == {
        "model_version": "v2",
        "items": 1,
        "of": 2,
        "share": 0.5,
        "trend": 1.0,
    }
    assert renamed["by_week"] == {"2026-W07": 1}
    assert shown[None, "milk"]["trend"] is None, "no milk was confirmed before"


async def test_a_later_confirmation_replaces_the_corrections_of_the_one_before(gateway: GatewayHarness) -> None:
    scan_id = await answered(gateway, 1, model_version="v3")
    await confirm(gateway, scan_id, CORRECTED)
    gateway.clock.advance(days=14)
    await confirm(gateway, scan_id, [{"label": "roma_tomato", "action": "renamed", "from_label": "cherry_tomato"}])
    assert len(await gateway.published(ScanConfirmed)) == 2
    shown = [(row["from_label"], row["label"], row["items"]) for row in (await corrections(gateway))["corrections"]]
    assert sorted(shown, key=str) == [("egg", None, 1), ("tomato", "roma_tomato", 1), (None, "milk", 1)]
    assert len((await corrections(gateway, limit=1))["corrections"]) == 1
    assert (await corrections(gateway, weeks=2))["corrections"] == []
