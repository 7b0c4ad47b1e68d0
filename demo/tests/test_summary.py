from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from savo_contracts.scans import Action
from savo_demo.corrections import Edit
from savo_demo.simulated_users import ScanOutcome
from savo_demo.stages.report import rows, summary_of
from savo_demo.stages.totals import Totals
from savo_demo.summary import Summary, count_mismatches, reached_every_step, rollout_shares

RUN: dict[str, Any] = {
    "state": "registered",
    "reasons": ["mAP@0.5 is 0.960"],
    "facts": {
        "version": "v1",
        "train_samples": 200,
        "evaluation": {"map50": 0.96, "map50_lower": 0.91, "map50_upper": 0.99, "images": 28},
    },
}


def some_totals() -> Totals:
    totals = Totals()
    for number in range(20):
        edit = Edit("egg", Action.KEPT if number % 4 else Action.ADDED)
        totals.add(
            ScanOutcome(
                scan_id=str(number),
                arm="baseline",
                served_by="google",
                duration_ms=10.0 * (number + 1),
                cost_usd=0.001,
                edits=(edit,),
                confirmed=True,
            )
        )
    totals.add(
        ScanOutcome(scan_id="x", arm="candidate", served_by="custom", duration_ms=30.0, cost_usd=0.0, confirmed=True)
    )
    totals.add(ScanOutcome(refused="upload-truncated"))
    totals.add(ScanOutcome(scan_id="y", failed="provider-failed"))
    return totals


def test_it_has_exactly_the_documented_form(tmp_path: Path) -> None:
    summary = summary_of(
        some_totals(), {"train": 14, "val": 4, "test": 2}, {"blurred": 1}, [RUN], [0.05, 0.25, 0.5, 1.0], {"start": 3.2}
    )
    summary.write(tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "scans": 22,
        "confirmed": 21,
        "corrected": 5,
        "samples": {"train": 14, "val": 4, "test": 2},
        "refused": {"blurred": 1},
        "models": [
            {
                "version": "v1",
                "map50": 0.96,
                "map50_lower": 0.91,
                "verdict": "registered",
                "reasons": ["mAP@0.5 is 0.960"],
            }
        ],
        "shares": [0.05, 0.25, 0.5, 1.0],
        "served_by": {"custom": 1, "google": 20},
        "p95_ms": {"baseline": 190.0, "candidate": 30.0},
        "cost_usd": {"baseline": 0.001, "candidate": 0.0},
        "seconds": {"start": 3.2},
    }


def test_a_run_without_a_model_is_left_out() -> None:
    failed = {**RUN, "state": "failed"}
    assert summary_of(some_totals(), {"train": 1, "val": 0, "test": 0}, {}, [failed], [], {}).models == []


def test_more_corrections_than_confirmations_are_refused() -> None:
    summary = summary_of(some_totals(), {"train": 1, "val": 0, "test": 0}, {}, [], [], {}).model_dump()
    with pytest.raises(ValidationError, match="cannot be"):
        Summary.model_validate({**summary, "corrected": 99})


def test_the_table_shows_every_figure() -> None:
    shown = dict(
        rows(
            summary_of(
                some_totals(), {"train": 14, "val": 4, "test": 2}, {"dark": 2}, [RUN], [0.05, 0.25], {"start": 3.2}
            )
        )
    )
    assert shown["share of traffic"] == "5% → 25%"
    assert shown["refused"] == "dark 2"
    assert "0.960" in shown["model v1"]


def entry(sequence: int, share: float, state: str = "running", experiment: str = "v1") -> dict[str, Any]:
    return {"sequence": sequence, "share": share, "state": state, "experiment": experiment}


def test_shares_are_read_from_the_history_in_time_order() -> None:
    history = [
        entry(5, 0.05, experiment="v2"),
        entry(4, 1.0),
        entry(3, 0.5),
        entry(2, 0.25),
        entry(1, 0.05),
        entry(0, 0.0, "idle"),
    ]
    assert rollout_shares(history, "v1") == [0.05, 0.25, 0.5, 1.0]
    assert reached_every_step(rollout_shares(history, "v1"))
    assert not reached_every_step(rollout_shares(history, "v2"))


def test_each_expected_reason_must_have_its_exact_count() -> None:
    assert count_mismatches({"dark": 2, "needs-class": 5}, {"dark": 2}) == []
    assert count_mismatches({"dark": 3}, {"dark": 2, "blurred": 1}) == [
        "dark: 3 counted, 2 expected",
        "blurred: 0 counted, 1 expected",
    ]
