"""The operator moves the champion: promote, revert. Over HTTP, as `savo models promote` and `savo models rollback` ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from savo_contracts.audit import AuditRecorded
from savo_contracts.documents import Alias, ModelReport, alias_key, model_key
from savo_contracts.rollout import RolloutState
from savo_contracts.scans import Arm
from savo_rollout.control import Switches
from savo_runtime.schema import move_tables
from savo_runtime.testing import published_by_outbox
from services.rollout.tests.events import completed, confirmed, registered
from services.rollout.tests.harness import House


async def shelve(house: House, *versions: str, verdict: str = "passed") -> None:
    """As the trainer leaves a version in the store."""
    for version in versions:
        event = registered(version)
        shared = event.model_dump(
            include={"version", "run_id", "dataset_version", "classes", "evaluation", "image_size"}
        )
        report = ModelReport(
            **shared,
            onnx_sha256=event.sha256,
            onnx_bytes=1000,
            train_samples=9,
            verdict=verdict,
            reasons=("mAP@0.5 is 0.412",),
            created_at=event.registered_at,
        )
        await house.store.put(model_key(version, "report.json"), report.model_dump_json().encode())
        await house.store.put(model_key(version, "model.onnx"), b"onnx")


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    await shelve(house, "v1", "v2", "v3")
    assert house.service.app is not None
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=house.service.app), base_url="http://rollout"
    ) as client:
        yield client


async def put(http: httpx2.AsyncClient, **body: Any) -> httpx2.Response:
    return await http.put("/rollout", json={"reason": "a test", "by": "mia"} | body)


async def promote(http: httpx2.AsyncClient, version: str, **body: Any) -> dict[str, Any]:
    answer = await put(http, action="promote", version=version, **body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def revert(http: httpx2.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await put(http, action="revert", **body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def champion_of(report: dict[str, Any]) -> str | None:
    return report["champion"]["version"] if report["champion"] else None


async def test_a_promoted_version_is_champion_in_the_event_and_the_alias_and_signed_in_the_audit_log(
    house: House, http: httpx2.AsyncClient
) -> None:
    report = await promote(http, "v2", reason="measured by hand on the shop's photos")
    assert (report["state"], champion_of(report), report["share"], report["former"]) == ("completed", "v2", 0.0, [])
    published = (await house.published())[-1]
    assert published.champion is not None
    assert (published.champion.key, published.champion.sha256) == ("models/ingredients/v2/model.onnx", "b" * 64)
    await house.worker.decide()
    assert Alias.model_validate_json(await house.store.get(alias_key("champion"))).version == "v2"
    entry = [event for event in await published_by_outbox(house.runtime) if isinstance(event, AuditRecorded)][-1]
    assert (entry.action, entry.by, entry.about) == ("alias.moved", "mia", "models:/ingredients@champion")
    assert (entry.before, entry.after, entry.reason) == (
        {"version": None},
        {"version": "v2"},
        "measured by hand on the shop's photos",
    )


async def test_promoting_the_champion_again_changes_nothing(house: House, http: httpx2.AsyncClient) -> None:
    once = await promote(http, "v2")
    assert await promote(http, "v2", reason="again") == once
    assert [event.sequence for event in await house.published()] == [0, 1]


async def test_an_unknown_version_is_not_found_and_one_without_its_file_neither(
    house: House, http: httpx2.AsyncClient
) -> None:
    unknown = await put(http, action="promote", version="v9")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model-unknown")
    assert "savo models list" in unknown.json()["detail"]
    await house.store.delete(model_key("v3", "model.onnx"))
    assert (await put(http, action="promote", version="v3")).status_code == 404


async def test_a_version_that_the_gate_refused_needs_force_and_the_figures_are_said(
    house: House, http: httpx2.AsyncClient
) -> None:
    await shelve(house, "v4", verdict="refused")
    refused = await put(http, action="promote", version="v4")
    assert (refused.status_code, refused.json()["code"]) == (409, "model-refused")
    assert "mAP@0.5 is 0.412" in refused.json()["detail"]
    forced = await promote(http, "v4", force=True)
    assert champion_of(forced) == "v4"
    assert forced["reason"] == "a test (by force: the gate refused v4: mAP@0.5 is 0.412)"


async def test_a_version_that_the_evidence_sent_back_needs_force_too(house: House, http: httpx2.AsyncClient) -> None:
    await house.hears(registered())
    await asyncio.gather(
        *[house.hears(confirmed(f"s{number}", f"u{number}", kept=2, removed=4)) for number in range(40)]
    )
    assert (await house.trial()).state is RolloutState.ROLLED_BACK
    refused = await put(http, action="promote", version="v1")
    assert refused.status_code == 409
    assert "accuracy surely misses 80.0%" in refused.json()["detail"]
    assert champion_of(await promote(http, "v1", force=True)) == "v1"


async def test_a_candidate_that_is_promoted_ends_its_trial_and_a_newer_one_that_waits_begins(
    house: House, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2"):
        await house.hears(registered(version))
    report = await promote(http, "v1")
    assert (report["state"], report["experiment"], champion_of(report), report["share"]) == (
        "running",
        "v2",
        "v1",
        0.05,
    )


async def test_the_trial_of_a_newer_candidate_goes_on_in_a_step_of_its_own_and_an_older_one_s_is_over(
    house: House, http: httpx2.AsyncClient
) -> None:
    await house.hears(registered("v2"))
    before = await house.trial()
    report = await promote(http, "v1")
    during = await house.trial()
    assert (report["state"], report["experiment"], champion_of(report), during.share) == (
        "running",
        "v2",
        "v1",
        before.share,
    )
    assert during.step == before.step + 1
    over = await promote(http, "v3")
    assert (over["state"], over["experiment"], champion_of(over), over["share"]) == ("completed", None, "v3", 0.0)


async def test_a_promoted_version_whose_registration_is_heard_later_begins_no_trial(
    house: House, http: httpx2.AsyncClient
) -> None:
    await promote(http, "v1")
    await house.hears(registered("v1"))
    assert (await house.trial()).experiment is None


async def test_a_rollback_leads_to_the_champion_before_and_at_last_to_the_provider(
    house: House, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2", "v3"):
        report = await promote(http, version)
    assert report["former"] == ["v2", "v1"]
    await house.worker.decide()
    assert [champion_of(await revert(http)) for _ in range(3)] == ["v2", "v1", None]
    assert (await house.published())[-1].champion is None
    await house.worker.decide()
    assert Alias.model_validate_json(await house.store.get(alias_key("champion"))).version is None
    nothing = await put(http, action="revert")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "not-possible")


async def test_a_rollback_may_name_a_former_champion_and_only_one(http: httpx2.AsyncClient) -> None:
    for version in ("v1", "v2", "v3"):
        await promote(http, version)
    never = await put(http, action="revert", version="v7")
    assert never.status_code == 409
    assert "v2, v1" in never.json()["detail"]
    report = await revert(http, version="v1")
    assert (champion_of(report), report["former"]) == ("v1", [])


async def test_a_champion_of_the_ladder_is_a_way_back_too(house: House, http: httpx2.AsyncClient) -> None:
    await promote(http, "v1")
    await house.hears(registered("v2"))
    for _ in range(4):
        trial = await house.trial()
        names = [
            (arm, f"{arm}-{trial.step}-{number}") for arm in Arm for number in range(90 if trial.step == 1 else 25)
        ]
        await asyncio.gather(
            *[house.hears(completed(f"s-{name}", f"u-{name}", arm, experiment="v2")) for arm, name in names]
        )
        await asyncio.gather(
            *[house.hears(confirmed(f"s-{name}", f"u-{name}", arm, experiment="v2")) for arm, name in names]
        )
        await house.trial()
    assert (await house.trial()).champion.version == "v2"  # type: ignore[union-attr]
    assert champion_of(await revert(http)) == "v1"


async def test_with_custom_vision_off_the_champion_moves_and_the_report_says_that_nothing_is_served(
    house: House, http: httpx2.AsyncClient
) -> None:
    assert (await promote(http, "v1"))["serving"] is True
    off = house.restarted(Switches(use_custom_vision=False))
    assert off.service.app is not None
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=off.service.app), base_url="http://rollout"
    ) as client:
        report = await promote(client, "v2")
    assert (champion_of(report), report["serving"]) == ("v2", False)


async def test_promote_without_a_version_is_refused_by_field(http: httpx2.AsyncClient) -> None:
    answer = await put(http, action="promote")
    assert (answer.status_code, answer.json()["detail"]) == (422, "version: promote needs a version, such as v3")
    assert (await put(http, action="promote", version="champion")).json()["detail"].startswith("version")


async def test_former_champions_survive_a_restart(house: House, http: httpx2.AsyncClient) -> None:
    for version in ("v1", "v2"):
        await promote(http, version)
    again = house.restarted()
    await again.rollout.start()
    assert [model.version for model in (await again.trial()).former] == ["v1"]
    async with house.runtime.database.session(read_only=True) as session:
        assert (await session.execute(sa.text("SELECT count(*) FROM history"))).scalar() == 3


async def test_a_rollout_that_is_under_way_gets_its_former_champions_from_the_audit_log(
    house: House, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2", "v3"):
        await promote(http, version)
    database = house.runtime.database
    await move_tables(database, "savo_rollout.migrations", "0001")
    await move_tables(database, "savo_rollout.migrations", "0002")
    assert [model.version for model in (await house.trial()).former] == ["v1", "v2"]
    assert champion_of(await revert(http)) == "v2"
