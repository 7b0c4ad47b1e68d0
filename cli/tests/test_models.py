"""`savo models promote` and `rollback`, against prepared answers on a real port."""

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


def last_change(gateway: SmallGateway) -> dict[str, Any]:
    change: dict[str, Any] = json.loads(gateway.requests[-1][2])
    return change


def test_a_promotion_shows_the_change_its_reason_and_the_command_to_undo_it(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/rollout", report("v1"))
    gateway.answers_with("PUT", "/admin/rollout", report("v3", former=["v1"]))
    result = savo("models", "promote", "v3", "--reason", "better by hand", "--by", "mia")
    assert result.exit_code == 0
    assert "champion: v1 → v3" in result.output
    assert "better by hand — mia" in result.output
    assert "savo models rollback" in result.output
    assert last_change(gateway) == {
        "action": "promote",
        "version": "v3",
        "force": False,
        "reason": "better by hand",
        "by": "mia",
    }


def test_promoting_the_champion_changes_nothing(savo: Savo, gateway: SmallGateway) -> None:
    for method in ("GET", "PUT"):
        gateway.answers_with(method, "/admin/rollout", report("v3"))
    result = savo("models", "promote", "v3", "--reason", "again")
    assert (result.exit_code, result.output) == (0, "v3 is already champion: nothing was changed\n")


def test_a_refused_version_is_shown_with_its_figures_and_force_promotes_it(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/rollout", report())
    gateway.refuses(
        "PUT",
        "/admin/rollout",
        409,
        "model-refused",
        "the gate refused v2: mAP@0.5 is 0.412. `savo models promote v2 --force` makes it champion",
    )
    result = savo("models", "promote", "v2", "--reason", "x")
    assert result.exit_code == 1
    assert "mAP@0.5 is 0.412" in result.output
    gateway.answers_with("PUT", "/admin/rollout", report("v2"))
    assert savo("models", "promote", "v2", "--reason", "x", "--force").exit_code == 0
    assert last_change(gateway)["force"] is True


def test_a_rollback_returns_to_the_previous_or_given_champion_or_to_the_provider(
    savo: Savo, gateway: SmallGateway
) -> None:
    gateway.answers_with("GET", "/admin/rollout", report("v3"))
    gateway.answers_with("PUT", "/admin/rollout", report(None, state="idle"))
    result = savo("models", "rollback", "--reason", "it misses milk")
    assert "champion: v3 → the vision provider" in result.output
    assert {key: last_change(gateway)[key] for key in ("action", "version")} == {"action": "revert", "version": None}
    savo("models", "rollback", "--reason", "x", "--to", "v1")
    assert last_change(gateway)["version"] == "v1"


def test_a_running_trial_and_a_disabled_custom_vision_are_reported(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/rollout", report())
    gateway.answers_with(
        "PUT",
        "/admin/rollout",
        report("v1", state="running", experiment="v2", share=0.25, serving=False, former=["v3", "v2"]),
    )
    result = savo("models", "promote", "v1", "--reason", "x").output
    assert "the trial of v2 continues at 25%, now against v1" in result
    assert "SAVO_USE_CUSTOM_VISION is false" in result
    assert "--to v3, --to v2" in result


def test_json_is_the_rollout_s_report(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/rollout", report())
    gateway.answers_with("PUT", "/admin/rollout", report("v3"))
    assert json.loads(savo("models", "promote", "v3", "--reason", "x", "--json").stdout)["champion"] == {
        "version": "v3"
    }


@pytest.mark.parametrize("arguments", [("promote", "v3"), ("promote", "--reason", "x"), ("rollback",)])
def test_without_a_version_or_a_reason_it_is_wrong_use(
    savo: Savo, gateway: SmallGateway, arguments: tuple[str, ...]
) -> None:
    assert savo("models", *arguments).exit_code == 2
    assert gateway.requests == []
