"""Commands over HTTP (scan, confirm, stats, rollout), against prepared answers on a real port."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from cli.tests.conftest import Savo
from cli.tests.small_gateway import DONE, FAILED, QUEUED, SCAN_ID, SmallGateway

REPORT = {
    "state": "running",
    "experiment": "v1",
    "share": 0.25,
    "champion": None,
    "reason": "v1 from 5% to 25%",
    "changed_by": "rollout",
    "changed_at": "2026-01-05T12:00:00Z",
    "waiting_for": ["certainty about the accuracy"],
    "arms": {
        arm: {
            "scans": 9,
            "confirmed": 5,
            "subjects": 4,
            "fallback_share": 0.125 if arm == "candidate" else None,
            **{
                name: {
                    "estimate": 0.5,
                    "lower": 0.1,
                    "upper": 0.9,
                    "target": 0.8,
                    "verdict": "undecided" if arm == "candidate" else None,
                }
                for name in ("accuracy", "correction_rate", "latency_p95_ms", "cost_usd", "failures")
            },
        }
        for arm in ("candidate", "baseline")
    },
}


def test_a_scan_shows_the_ingredients_and_the_provider(savo: Savo, gateway: SmallGateway, photo: Path) -> None:
    gateway.answers_with("POST", "/v1/scans", DONE)
    result = savo("scan", photo, "--user", "anna")
    assert result.exit_code == 0, result.output
    assert "milk" in result.output
    assert "google gemini (baseline)" in result.output
    _, path, body, _ = gateway.requests[0]
    assert path == "/v1/scans?wait=30.0"
    assert b"anna" in body
    assert photo.read_bytes() in body


def test_a_scan_that_takes_longer_is_polled(savo: Savo, gateway: SmallGateway, photo: Path) -> None:
    gateway.answers_with("POST", "/v1/scans", QUEUED, status=202)
    gateway.answers_with("GET", f"/v1/scans/{SCAN_ID}", DONE)
    assert json.loads(savo("scan", photo, "--json").stdout) == DONE


def test_a_failed_scan_shows_its_reason_and_exits_with_1(savo: Savo, gateway: SmallGateway, photo: Path) -> None:
    gateway.answers_with("POST", "/v1/scans", FAILED)
    result = savo("scan", photo)
    assert result.exit_code == 1
    assert "no answer arrived in time (expired)" in result.output


def test_a_refused_photo_is_named_and_the_others_are_scanned(savo: Savo, gateway: SmallGateway, photo: Path) -> None:
    refusal = (422, {"code": "upload-truncated", "detail": "the photo is cut off"})
    gateway.answers["POST", "/v1/scans"] = [(200, DONE), refusal, (200, DONE)]
    result = savo("scan", photo, photo, photo, "--json")
    first, second, third = (json.loads(line) for line in result.stdout.splitlines())
    assert (result.exit_code, first, third) == (1, DONE, DONE)
    assert second == {
        "photo": str(photo),
        "error": {"status": 422, "message": "the photo is cut off (upload-truncated)"},
    }
    gateway.answers["POST", "/v1/scans"] = [refusal, (200, DONE)]
    result = savo("scan", photo, photo)
    assert result.exit_code == 1
    assert f"savo: {photo.name}: the gateway refused: 422 the photo is cut off" in result.output
    assert "milk" in result.output


def test_an_empty_answer_of_a_stand_in_explains_which_photos_it_knows(
    savo: Savo, gateway: SmallGateway, photo: Path
) -> None:
    result = {**DONE["result"], "items": [], "model_version": "standin-gemini"}
    gateway.answers_with("POST", "/v1/scans", {**DONE, "result": result})
    assert "knows only the photos of its own folder" in savo("scan", photo).output


def test_show_writes_the_photo_with_its_boxes(savo: Savo, gateway: SmallGateway, photo: Path, tmp_path: Path) -> None:
    gateway.answers_with("POST", "/v1/scans", DONE)
    result = savo("scan", photo, photo, "--show", tmp_path / "boxes.png")
    assert result.exit_code == 0
    assert f"drawn to {tmp_path / 'boxes-2.png'}" in result.output
    with Image.open(tmp_path / "boxes-2.png") as drawn:
        assert drawn.size == (200, 100)
        assert drawn.convert("RGB").getpixel((20, 40)) != (128, 128, 128)


def test_with_json_the_picture_is_written_and_stdout_stays_json(
    savo: Savo, gateway: SmallGateway, photo: Path, tmp_path: Path
) -> None:
    gateway.answers_with("POST", "/v1/scans", DONE)
    result = savo("scan", photo, "--json", "--show", tmp_path / "new" / "boxes.jpg")
    assert json.loads(result.stdout) == DONE
    assert (tmp_path / "new" / "boxes.jpg").exists()


def test_an_unknown_picture_format_is_refused_in_one_line(
    savo: Savo, gateway: SmallGateway, photo: Path, tmp_path: Path
) -> None:
    gateway.answers_with("POST", "/v1/scans", DONE)
    result = savo("scan", photo, "--show", tmp_path / "boxes.txt")
    assert result.exit_code == 1
    assert "cannot draw" in result.output
    assert ".txt" in result.output


def test_a_scan_shows_the_quantity_and_storage_place_of_each_item(
    savo: Savo, gateway: SmallGateway, photo: Path
) -> None:
    items = [
        {**DONE["result"]["items"][0], "quantity_estimate": 2.0},
        {**DONE["result"]["items"][0], "storage_hint": None, "bbox": None},
    ]
    gateway.answers_with("POST", "/v1/scans", {**DONE, "result": {**DONE["result"], "items": items}})
    lines = [line.split() for line in savo("scan", photo).output.splitlines()]
    assert ["milk", "0.91", "2", "fridge", "0.100", "0.200", "0.300", "0.400"] in lines
    assert ["milk", "0.91", "–", "–", "–"] in lines


def test_a_confirmation_is_sent_in_full_or_short_form(savo: Savo, gateway: SmallGateway, tmp_path: Path) -> None:
    gateway.answers_with(
        "POST",
        f"/v1/scans/{SCAN_ID}/confirmation",
        {"revision": 1, "status": "published", "items": [], "nothing_missing": True},
    )
    items = tmp_path / "items.json"
    items.write_text('[{"label": "milk", "action": "kept"}]')
    assert savo("confirm", SCAN_ID, "--all-correct").exit_code == 0
    assert savo("confirm", SCAN_ID, "--from", items).exit_code == 0
    assert [json.loads(body) for _, _, body, _ in gateway.requests] == [
        {"all_correct": True},
        {"items": [{"label": "milk", "action": "kept"}]},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("confirm", SCAN_ID),
        ("rollout", "pause"),
        ("rollout", "set", "1.5", "--reason", "x"),
        ("scan", "missing.jpg"),
        ("nonsense",),
    ],
)
def test_wrong_use_exits_with_2(savo: Savo, arguments: tuple[str, ...]) -> None:
    assert savo(*arguments).exit_code == 2


def test_statistics_are_a_table_or_json(savo: Savo, gateway: SmallGateway) -> None:
    figures = {"total_samples": 3, "correction_rate": 0.25, "last_updated": None}
    gateway.answers_with("GET", "/training/stats", figures)
    assert "25.0%" in savo("stats").output
    assert json.loads(savo("stats", "--json").stdout) == figures


def test_stats_shows_what_people_correct(savo: Savo, gateway: SmallGateway) -> None:
    renamed = {"model_version": "v2", "from_label": "tomato", "label": "apple", "items": 3, "of": 40}
    answer = {"weeks": ["2026-W48"], "corrections": [renamed | {"share": 0.075, "trend": -0.02, "by_week": {}}]}
    gateway.answers_with("GET", "/training/corrections", answer)
    assert "tomato → apple  v2     3 of 40  7.5%   falling" in savo("stats", "--corrections").output
    assert json.loads(savo("stats", "--corrections", "--json").stdout) == answer


def test_the_rollout_is_shown_with_its_evidence_and_what_is_missing(savo: Savo, gateway: SmallGateway) -> None:
    gateway.answers_with("GET", "/admin/rollout", REPORT)
    result = savo("rollout", "show").output
    assert "running: v1 at 25% against the vision provider" in result
    assert "50.0%  [10.0% … 90.0%]" in result
    below_the_cost = next(after for line, after in pairwise(result.splitlines()) if "mean cost" in line)
    assert [cell.strip() for cell in below_the_cost.split("│")[1:4]] == ["fell back", "12.5%", "–"]
    assert "waits for certainty about the accuracy" in result


def test_without_the_rollout_service_its_last_known_state_is_shown(savo: Savo, gateway: SmallGateway) -> None:
    last_known = {
        name: REPORT[name]
        for name in ("state", "experiment", "share", "champion", "reason", "changed_by", "changed_at")
    }
    gateway.answers_with(
        "GET",
        "/admin/rollout",
        {**last_known, "source": "the rollout service itself does not answer", "evidence": None},
    )
    result = savo("rollout", "show")
    assert result.exit_code == 0
    assert "does not answer" in result.output


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (("set", "0.4"), {"action": "set", "share": 0.4}),
        (("pause",), {"action": "pause"}),
        (("resume",), {"action": "resume"}),
        (("rollback",), {"action": "rollback"}),
    ],
)
def test_an_operators_change_contains_who_and_why(
    savo: Savo, gateway: SmallGateway, arguments: tuple[str, ...], change: dict[str, object]
) -> None:
    gateway.answers_with("PUT", "/admin/rollout", REPORT)
    assert savo("rollout", *arguments, "--reason", "a complaint", "--by", "mia", "--key", "k").exit_code == 0
    _, _, body, headers = gateway.requests[0]
    assert json.loads(body) == {**change, "reason": "a complaint", "by": "mia"}
    assert headers["X-Api-Key" if "X-Api-Key" in headers else "X-API-Key"] == "k"


def test_an_unreachable_gateway_is_reported_in_one_line_with_the_next_step(savo: Savo) -> None:
    result = savo("stats", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "start it with `savo up`" in result.stderr


def test_a_refusal_shows_the_message_of_the_gateway(savo: Savo, gateway: SmallGateway, photo: Path) -> None:
    gateway.refuses("POST", "/v1/scans", 415, "upload-wrong-type", "this is no photo")
    gateway.refuses("GET", "/training/stats", 401, "unauthorized", "send a key")
    assert (
        savo("scan", photo).stderr
        == "savo: fridge.jpg: the gateway refused: 415 this is no photo (upload-wrong-type)\n"
    )
    assert "SAVO_API_KEY" in savo("stats").stderr


def test_an_error_status_exits_with_1_whatever_up_json_holds(savo: Savo, gateway: SmallGateway, tmp_path: Path) -> None:
    run = tmp_path / ".savo" / "run"
    run.mkdir(parents=True)
    (run / "up.json").write_text("no json")
    gateway.refuses("GET", "/training/stats", 404, "not-found", "what?")
    assert savo("stats").exit_code == 1


def test_the_gateway_of_a_local_savo_up_is_found(
    savo: Savo, gateway: SmallGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAVO_URL")
    run = tmp_path / ".savo" / "run"
    run.mkdir(parents=True)
    (run / "up.json").write_text(json.dumps({"gateway_url": gateway.url, "kafka": "x:1", "services": {}}))
    gateway.answers_with("GET", "/training/stats", {"total_samples": 3})
    assert savo("stats", "--json").exit_code == 0
