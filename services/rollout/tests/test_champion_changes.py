"""Champion changes over HTTP, as `savo models promote` and `savo models rollback` request them."""

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
from savo_rollout.operator_commands import StartSettings
from savo_runtime.schema import move_tables
from savo_runtime.testing import published_by_outbox
from services.rollout.tests.events import completed, confirmed, registered
from services.rollout.tests.harness import Harness


async def write_versions(harness: Harness, *versions: str, verdict: str = "passed") -> None:
    """Write versions to the store like the trainer."""
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
        await harness.store.put(model_key(version, "report.json"), report.model_dump_json().encode())
        await harness.store.put(model_key(version, "model.onnx"), b"onnx")


@pytest.fixture
async def http(harness: Harness) -> AsyncIterator[httpx2.AsyncClient]:
    await write_versions(harness, "v1", "v2", "v3")
    assert harness.service.app is not None
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=harness.service.app), base_url="http://rollout"
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


async def test_a_promotion_changes_event_alias_and_audit_log(harness: Harness, http: httpx2.AsyncClient) -> None:
    report = await promote(http, "v2", reason="measured by hand on the shop's photos")
    assert (report["state"], champion_of(report), report["share"], report["former"]) == ("completed", "v2", 0.0, [])
    published = (await harness.published())[-1]
    assert published.champion is not None
    assert (published.champion.key, published.champion.sha256) == ("models/ingredients/v2/model.onnx", "b" * 64)
    await harness.worker.decide()
    assert Alias.model_validate_json(await harness.store.get(alias_key("champion"))).version == "v2"
    entry = [event for event in await published_by_outbox(harness.runtime) if isinstance(event, AuditRecorded)][-1]
    assert (entry.action, entry.by, entry.about) == ("alias.moved", "mia", "models:/ingredients@champion")
    assert (entry.before, entry.after, entry.reason) == (
        {"version": None},
        {"version": "v2"},
        "measured by hand on the shop's photos",
    )


async def test_promoting_the_champion_again_changes_nothing(harness: Harness, http: httpx2.AsyncClient) -> None:
    first = await promote(http, "v2")
    assert await promote(http, "v2", reason="again") == first
    assert [event.sequence for event in await harness.published()] == [0, 1]


async def test_an_unknown_version_and_one_without_its_file_are_not_found(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    unknown = await put(http, action="promote", version="v9")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model-unknown")
    assert "savo models list" in unknown.json()["detail"]
    await harness.store.delete(model_key("v3", "model.onnx"))
    assert (await put(http, action="promote", version="v3")).status_code == 404


async def test_a_version_that_the_gate_refused_needs_force_and_shows_its_figures(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await write_versions(harness, "v4", verdict="refused")
    refused = await put(http, action="promote", version="v4")
    assert (refused.status_code, refused.json()["code"]) == (409, "model-refused")
    assert "mAP@0.5 is 0.412" in refused.json()["detail"]
    forced = await promote(http, "v4", force=True)
    assert champion_of(forced) == "v4"
    assert forced["reason"] == "a test (by force: the gate refused v4: mAP@0.5 is 0.412)"


async def test_a_version_that_its_trial_rolled_back_needs_force(harness: Harness, http: httpx2.AsyncClient) -> None:
    await harness.deliver(registered())
    await asyncio.gather(
        *[harness.deliver(confirmed(f"s{number}", f"u{number}", kept=2, removed=4)) for number in range(40)]
    )
    assert (await harness.trial()).state is RolloutState.ROLLED_BACK
    refused = await put(http, action="promote", version="v1")
    assert refused.status_code == 409
    assert "accuracy misses its target 80.0%" in refused.json()["detail"]
    assert champion_of(await promote(http, "v1", force=True)) == "v1"


async def test_a_promoted_candidate_ends_its_trial_and_the_queued_model_begins(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2"):
        await harness.deliver(registered(version))
    report = await promote(http, "v1")
    assert (report["state"], report["experiment"], champion_of(report), report["share"]) == (
        "running",
        "v2",
        "v1",
        0.05,
    )


async def test_a_newer_candidates_trial_continues_in_a_new_step_and_an_older_one_ends(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await harness.deliver(registered("v2"))
    before = await harness.trial()
    report = await promote(http, "v1")
    during = await harness.trial()
    assert (report["state"], report["experiment"], champion_of(report), during.share) == (
        "running",
        "v2",
        "v1",
        before.share,
    )
    assert during.step == before.step + 1
    ended = await promote(http, "v3")
    assert (ended["state"], ended["experiment"], champion_of(ended), ended["share"]) == ("completed", None, "v3", 0.0)


async def test_a_promoted_version_that_is_registered_later_begins_no_trial(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await promote(http, "v1")
    await harness.deliver(registered("v1"))
    assert (await harness.trial()).experiment is None


async def test_rollbacks_lead_to_former_champions_and_finally_to_the_provider(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2", "v3"):
        report = await promote(http, version)
    assert report["former"] == ["v2", "v1"]
    await harness.worker.decide()
    assert [champion_of(await revert(http)) for _ in range(3)] == ["v2", "v1", None]
    assert (await harness.published())[-1].champion is None
    await harness.worker.decide()
    assert Alias.model_validate_json(await harness.store.get(alias_key("champion"))).version is None
    nothing = await put(http, action="revert")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "not-possible")
    assert nothing.json()["detail"] == "there is no champion to revert: the vision provider is the baseline"


async def test_a_rollback_may_name_a_former_champion_but_no_other_version(http: httpx2.AsyncClient) -> None:
    for version in ("v1", "v2", "v3"):
        await promote(http, version)
    unknown = await put(http, action="revert", version="v7")
    assert unknown.status_code == 409
    assert "v2, v1" in unknown.json()["detail"]
    report = await revert(http, version="v1")
    assert (champion_of(report), report["former"]) == ("v1", [])


async def test_a_rollback_also_leaves_a_champion_of_the_ladder(harness: Harness, http: httpx2.AsyncClient) -> None:
    await promote(http, "v1")
    await harness.deliver(registered("v2"))
    for _ in range(4):
        trial = await harness.trial()
        names = [
            (arm, f"{arm}-{trial.step}-{number}") for arm in Arm for number in range(90 if trial.step == 1 else 25)
        ]
        await asyncio.gather(
            *[harness.deliver(completed(f"s-{name}", f"u-{name}", arm, experiment="v2")) for arm, name in names]
        )
        await asyncio.gather(
            *[harness.deliver(confirmed(f"s-{name}", f"u-{name}", arm, experiment="v2")) for arm, name in names]
        )
        await harness.trial()
    assert (await harness.trial()).champion.version == "v2"  # type: ignore[union-attr]
    assert champion_of(await revert(http)) == "v1"


async def test_without_custom_vision_a_promotion_works_but_the_report_shows_no_serving(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    assert (await promote(http, "v1"))["serving"] is True
    off = harness.restarted(StartSettings(use_custom_vision=False))
    assert off.service.app is not None
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=off.service.app), base_url="http://rollout"
    ) as client:
        report = await promote(client, "v2")
    assert (champion_of(report), report["serving"]) == ("v2", False)


async def test_promote_without_a_version_is_refused_with_its_field(http: httpx2.AsyncClient) -> None:
    answer = await put(http, action="promote")
    assert (answer.status_code, answer.json()["detail"]) == (422, "version: promote needs a version, such as v3")
    assert (await put(http, action="promote", version="champion")).json()["detail"].startswith("version")


async def test_former_champions_survive_a_restart(harness: Harness, http: httpx2.AsyncClient) -> None:
    for version in ("v1", "v2"):
        await promote(http, version)
    restarted = harness.restarted()
    await restarted.rollout.start()
    assert [model.version for model in (await restarted.trial()).former] == ["v1"]
    async with harness.runtime.database.session(read_only=True) as session:
        assert (await session.execute(sa.text("SELECT count(*) FROM history"))).scalar() == 3


async def test_the_migration_fills_former_champions_from_the_audit_log(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    for version in ("v1", "v2", "v3"):
        await promote(http, version)
    database = harness.runtime.database
    await move_tables(database, "savo_rollout.migrations", "0001")
    await move_tables(database, "savo_rollout.migrations", "0003")
    assert [model.version for model in (await harness.trial()).former] == ["v1", "v2"]
    assert champion_of(await revert(http)) == "v2"
