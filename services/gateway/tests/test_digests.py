"""Claims of weekly digests."""

from __future__ import annotations

from services.gateway.tests.harness import GatewayHarness


async def test_a_week_is_claimed_once(gateway: GatewayHarness) -> None:
    assert (await gateway.http.post("/admin/digests/2026-W02")).status_code == 201
    again = await gateway.http.post("/admin/digests/2026-W02")
    assert (again.status_code, again.json()["code"]) == (409, "digest-sent")
    assert "2026-W02 was sent at 2026-01-05 12:00 UTC" in again.json()["detail"]
    assert (await gateway.http.post("/admin/digests/2026-W03")).status_code == 201


async def test_a_released_week_can_be_claimed_again(gateway: GatewayHarness) -> None:
    await gateway.http.post("/admin/digests/2026-W02")
    assert (await gateway.http.delete("/admin/digests/2026-W02")).status_code == 204
    assert (await gateway.http.post("/admin/digests/2026-W02")).status_code == 201


async def test_an_invalid_week_is_refused(gateway: GatewayHarness) -> None:
    assert (await gateway.http.post("/admin/digests/last-week")).status_code == 422
