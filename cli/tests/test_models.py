"""`savo models promote` and `rollback`, against canned answers on a real port."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SmallGateway


def report(champion: str | None = None, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "state": "completed",
        "experiment": None,
        "share": 0.0,
        "former": [],
        "serving": True,
        "changed_at": "2026-01-05T12:00:00Z",
    }
    return (
        plain
        | {"champion": champion and {"version": champion}, "reason": "better by hand", "changed_by": "mia"}
        | changes
    )


def order(gateway: SmallGateway) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(gateway.asked[-1][2])
    return asked


def test_a_promotion_tells_from_what_to_what_why_who_and_the_way_back(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/rollout", report("v1"))
    gateway.says("PUT", "/admin/rollout", report("v3", former=["v1"]))
    told = savo("models", "promote", "v3", "--reason", "better by hand", "--by", "mia")
    assert told.exit_code == 0
    assert "champion: v1 → v3" in told.output
    assert "better by hand — mia" in told.output
    assert "savo models rollback" in told.output
    assert order(gateway) == {
        "action": "promote",
        "version": "v3",
        "force": False,
        "reason": "better by hand",
        "by": "mia",
    }


def test_promoting_the_champion_says_that_nothing_was_changed(savo: Savo, gateway: SmallGateway) -> None:
    for method in ("GET", "PUT"):
        gateway.says(method, "/admin/rollout", report("v3"))
    told = savo("models", "promote", "v3", "--reason", "again")
    assert (told.exit_code, told.output) == (0, "v3 is champion already: nothing was changed\n")


def test_a_refused_version_is_said_with_its_figures_and_force_goes_through(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/rollout", report())
    gateway.refuses(
        "PUT",
        "/admin/rollout",
        409,
        "model-refused",
        "the gate refused v2: mAP@0.5 is 0.412. `savo models promote v2 --force` makes it champion",
    )
    told = savo("models", "promote", "v2", "--reason", "x")
    assert told.exit_code == 1
    assert "mAP@0.5 is 0.412" in told.output
    gateway.says("PUT", "/admin/rollout", report("v2"))
    assert savo("models", "promote", "v2", "--reason", "x", "--force").exit_code == 0
    assert order(gateway)["force"] is True


def test_a_rollback_leads_to_the_champion_before_or_the_one_named_or_the_provider(
    savo: Savo, gateway: SmallGateway
) -> None:
    gateway.says("GET", "/admin/rollout", report("v3"))
    gateway.says("PUT", "/admin/rollout", report(None, state="idle"))
    told = savo("models", "rollback", "--reason", "it misses milk")
    assert "champion: v3 → the vision provider" in told.output
    assert {key: order(gateway)[key] for key in ("action", "version")} == {"action": "revert", "version": None}
    savo("models", "rollback", "--reason", "x", "--to", "v1")
    assert order(gateway)["version"] == "v1"


def test_a_trial_that_goes_on_and_a_product_that_serves_no_model_are_said(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/rollout", report())
    gateway.says(
        "PUT",
        "/admin/rollout",
        report("v1", state="running", experiment="v2", share=0.25, serving=False, former=["v3", "v2"]),
    )
    told = savo("models", "promote", "v1", "--reason", "x").output
    assert "the trial of v2 goes on at 25%, against v1 from now on" in told
    assert "SAVO_USE_CUSTOM_VISION is false" in told
    assert "--to v3, --to v2" in told


def test_json_is_the_rollout_s_report(savo: Savo, gateway: SmallGateway) -> None:
    gateway.says("GET", "/admin/rollout", report())
    gateway.says("PUT", "/admin/rollout", report("v3"))
    assert json.loads(savo("models", "promote", "v3", "--reason", "x", "--json").stdout)["champion"] == {
        "version": "v3"
    }


@pytest.mark.parametrize("words", [("promote", "v3"), ("promote", "--reason", "x"), ("rollback",)])
def test_without_a_version_or_a_reason_it_is_wrong_use(
    savo: Savo, gateway: SmallGateway, words: tuple[str, ...]
) -> None:
    assert savo("models", *words).exit_code == 2
    assert gateway.asked == []
