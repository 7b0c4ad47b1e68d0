"""Operators' commands over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from savo_contracts.audit import AuditRecorded
from savo_runtime.testing import published_by_outbox
from services.rollout.tests.events import registered
from services.rollout.tests.harness import Harness


@pytest.fixture
async def http(harness: Harness) -> AsyncIterator[httpx2.AsyncClient]:
    assert harness.service.app is not None
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=harness.service.app), base_url="http://rollout"
    ) as client:
        yield client


async def put(http: httpx2.AsyncClient, **body: Any) -> httpx2.Response:
    return await http.put("/rollout", json={"reason": "a test", "by": "mia"} | body)


async def test_before_any_model_the_report_says_what_is_missing(http: httpx2.AsyncClient) -> None:
    report = (await http.get("/rollout")).json()
    assert (report["state"], report["share"], report["waiting_for"]) == ("idle", 0.0, ["a model that passes its gate"])
    assert report["arms"]["candidate"]["accuracy"] == {
        "estimate": None,
        "lower": None,
        "upper": None,
        "target": 0.8,
        "verdict": "undecided",
    }
    assert report["arms"]["candidate"]["failures"]["verdict"] == "undecided", "the candidate has no scan yet"


async def test_a_running_trial_names_what_is_missing(harness: Harness, http: httpx2.AsyncClient) -> None:
    await harness.deliver(registered())
    waiting = (await http.get("/rollout")).json()["waiting_for"]
    assert waiting[:2] == [
        "20 more confirmed scans of the candidate in this step",
        "20 more confirmed scans of the baseline in this step",
    ]
    assert "certainty about the accuracy" in waiting


async def test_a_pin_pauses_automation_and_resume_continues_at_the_step_below(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await harness.deliver(registered())
    assert (await put(http, action="set", share=0.3)).json()["state"] == "pinned"
    resumed = (await put(http, action="resume")).json()
    assert (resumed["state"], resumed["share"]) == ("running", 0.25)


async def test_pause_and_roll_back(harness: Harness, http: httpx2.AsyncClient) -> None:
    await harness.deliver(registered())
    assert (await put(http, action="pause")).json()["state"] == "paused"
    assert (await put(http, action="pause")).status_code == 409
    rolled_back = (await put(http, action="rollback")).json()
    assert (rolled_back["state"], rolled_back["share"], rolled_back["changed_by"]) == ("rolled-back", 0.0, "mia")
    assert (await harness.published())[-1].share == 0.0


async def test_without_a_trial_a_command_is_a_conflict_with_the_reason(http: httpx2.AsyncClient) -> None:
    answer = await put(http, action="set", share=0.5)
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert "no model is registered yet" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"action": "set", "share": 1.5}, "share"),
        ({"action": "stop"}, "action"),
        ({"action": "pause", "by": ""}, "by"),
        ({"action": "pause", "why": "x"}, "why"),
    ],
)
async def test_an_invalid_command_is_refused_with_its_field(
    http: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await put(http, **body)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)


async def test_set_without_a_share_is_refused(harness: Harness, http: httpx2.AsyncClient) -> None:
    await harness.deliver(registered())
    answer = await put(http, action="set")
    assert (answer.status_code, answer.json()["detail"]) == (422, "share: set needs a share from 0 to 1")


async def test_every_change_of_share_and_alias_is_in_the_audit_log(harness: Harness, http: httpx2.AsyncClient) -> None:
    await harness.deliver(registered())
    await put(http, action="rollback", reason="it sees tomatoes everywhere")
    entries = [event for event in await published_by_outbox(harness.runtime) if isinstance(event, AuditRecorded)]
    assert [(entry.action, entry.by, entry.about) for entry in entries] == [
        ("share.changed", "rollout", "vision"),
        ("alias.moved", "rollout", "models:/ingredients@challenger"),
        ("share.changed", "mia", "vision"),
        ("alias.moved", "mia", "models:/ingredients@challenger"),
    ]
    begun, alias_set, ended, alias_removed = entries
    assert (begun.before["share"], begun.after["share"], alias_set.before, alias_set.after) == (
        0.0,
        0.05,
        {"version": None},
        {"version": "v1"},
    )
    assert (ended.before["share"], ended.after) == (0.05, {"share": 0.0, "state": "rolled-back", "experiment": "v1"})
    assert (alias_removed.before, alias_removed.after, alias_removed.reason) == (
        {"version": "v1"},
        {"version": None},
        "it sees tomatoes everywhere",
    )
