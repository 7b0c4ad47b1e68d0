"""A model from elsewhere: one version for one file, whatever breaks on the way, judged and announced as one that was trained here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from savo_contracts.audit import AuditRecorded
from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass, ModelReport, model_key
from savo_contracts.models import ModelRegistered
from savo_contracts.training import Comparison, Evaluation, RunOutcome, TrainingFinished
from savo_runtime.testing import published_by_outbox
from savo_trainer.adapters.http import runs_app
from savo_trainer.models.gate import GatePolicy
from savo_trainer.models.registration import RegisterModel, SubmittedModel, run_id_of
from services.trainer.tests.trainer_fakes import Crash, Harness, class_list, collect, make_champion, open_harness

ONNX, PLAIN, WEIGHTS = b"onnx from the shop", b"its plain export", b"weights from the shop"
MEASURED = Evaluation(
    map50=0.81, map50_lower=0.77, map50_upper=0.85, images=40, boxes=160, per_class={"tomato": 0.9, "egg": 0.72}
)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def brought(**changes: Any) -> SubmittedModel:
    about = {
        "sha256": sha(ONNX),
        "bytes": len(ONNX),
        "image_size": 640,
        "classes": ("egg", "tomato"),
        "weights_sha256": sha(WEIGHTS),
    }
    return SubmittedModel(
        **about
        | {
            "holdout": "holdout-0123456789ab",
            "evaluation": MEASURED,
            "by": "mia",
            "reason": "trained on the GPU machine",
        }
        | changes
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with open_harness(tmp_path / "runs") as built:
        await built.store.put(CLASSES_KEY, class_list().model_dump_json().encode())
        yield built


@pytest.fixture
async def http(harness: Harness) -> AsyncIterator[httpx2.AsyncClient]:
    register = RegisterModel(
        harness.ledger, harness.numbers, harness.store, GatePolicy(), harness.clock, harness.ended.append
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=runs_app(harness.ledger, register=register)), base_url="http://trainer"
    ) as client:
        yield client


async def post(http: httpx2.AsyncClient, model: SubmittedModel) -> httpx2.Response:
    return await http.post("/models", json=model.model_dump(mode="json"))


async def bring(http: httpx2.AsyncClient, harness: Harness, model: SubmittedModel | None = None) -> dict[str, Any]:
    """As the command does it: hand over, put what is wanted, hand over again."""
    model = model or brought()
    answer = (await post(http, model)).json()
    for name in answer.get("wanted", ()):
        await harness.store.put(
            model_key(answer["version"], name),
            {"model.onnx": ONNX, "model.plain.onnx": PLAIN, "weights.pt": WEIGHTS}[name],
        )
    return dict((await post(http, model)).json())


async def test_a_submitted_model_is_numbered_judged_and_announced_like_a_trained_one(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    first = await post(http, brought())
    assert (first.status_code, first.json()) == (202, {"version": "v1", "wanted": ["model.onnx", "weights.pt"]})
    run = await bring(http, harness)
    assert (run["state"], run["facts"]["version"]) == ("registered", "v1")
    events = await published_by_outbox(harness.runtime)
    registered = next(event for event in events if isinstance(event, ModelRegistered))
    assert (registered.version, registered.key, registered.sha256, registered.classes) == (
        "v1", "models/ingredients/v1/model.onnx", sha(ONNX), ("egg", "tomato"),
    )  # fmt: skip
    finished = next(event for event in events if isinstance(event, TrainingFinished))
    assert (finished.run_id, finished.outcome, finished.dataset_version) == (
        run["id"],
        RunOutcome.REGISTERED,
        "holdout-0123456789ab",
    )
    entry = next(event for event in events if isinstance(event, AuditRecorded))
    assert (entry.action, entry.by, entry.about, entry.reason) == (
        "model.registered",
        "mia",
        "v1",
        "trained on the GPU machine",
    )
    assert {key for key in harness.store.objects if key.startswith("models/")} == {
        model_key("v1", name) for name in ("model.onnx", "weights.pt", "classes.json", "report.json", "card.md")
    }
    classes = ClassList.model_validate_json(harness.store.objects[model_key("v1", "classes.json")])
    assert [(entry.id, entry.label) for entry in classes.classes] == [(2, "egg"), (0, "tomato")]
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    assert (
        "Trained elsewhere, for inputs of up to 640 × 640 pixels. Registered by mia: trained on the GPU machine."
        in card
    )
    assert [ended.id for ended in harness.ended] == [run["id"]]


async def test_an_optimised_model_is_stored_with_and_identified_by_its_plain_export(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    optimised = brought(plain_sha256=sha(PLAIN), optimization="Its graph is optimised.")
    assert (await post(http, optimised)).json()["wanted"] == ["model.onnx", "model.plain.onnx", "weights.pt"]
    run = await bring(http, harness, optimised)
    assert run["id"] == run_id_of(sha(PLAIN))
    assert (run["facts"]["onnx_sha256"], run["facts"]["plain_onnx_sha256"]) == (sha(ONNX), sha(PLAIN))
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (sha(ONNX), sha(PLAIN))
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    assert f"Its graph is optimised. It was made from model.plain.onnx, sha256 `{sha(PLAIN)}`." in card
    again = await post(http, brought(sha256=sha(b"optimised in another way"), plain_sha256=sha(PLAIN)))
    assert (again.status_code, again.json()) == (200, run)


async def test_a_refused_model_gets_figures_and_next_steps_and_no_registration_event(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await bring(
        http, harness, brought(evaluation=MEASURED.model_copy(update={"map50": 0.41, "map50_lower": 0.36}))
    )
    assert run["state"] == "rejected"
    assert "0.410" in run["reasons"][0]
    assert "Train it on more samples" in run["next_steps"][0]
    assert not [event for event in await published_by_outbox(harness.runtime) if isinstance(event, ModelRegistered)]
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.verdict, list(report.reasons)) == ("refused", run["reasons"])


async def test_the_same_file_again_gets_the_same_version_and_verdict(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    once = await bring(http, harness)
    again = await post(http, brought(by="tom", evaluation=MEASURED.model_copy(update={"map50": 0.1})))
    assert (again.status_code, again.json()) == (200, once)
    assert len(await published_by_outbox(harness.runtime)) == 3
    other = await post(http, brought(sha256=sha(b"another")))
    assert other.json()["version"] == "v2"


@pytest.mark.parametrize("moment", ["classes.json", "report.json", "card.md"])
async def test_a_registration_that_is_repeated_after_a_crash_has_one_version(
    harness: Harness, http: httpx2.AsyncClient, moment: str
) -> None:
    mend = crash_after(harness, moment)
    with pytest.raises(Crash):
        await bring(http, harness)
    mend()
    run = await bring(http, harness)
    assert (run["state"], run["facts"]["version"]) == ("registered", "v1")
    assert {key.split("/")[2] for key in harness.store.objects if key.startswith("models/")} == {"v1"}
    assert [type(event).__name__ for event in await published_by_outbox(harness.runtime)].count("ModelRegistered") == 1


def crash_after(harness: Harness, name: str) -> Callable[[], None]:
    """The trainer dies right after this file was written; gives what takes the trap away."""
    put, put_if_absent = harness.store.put, harness.store.put_if_absent

    def trap(write: Callable[..., Any]) -> Any:
        async def wrapped(key: str, *rest: Any, **named: Any) -> Any:
            written = await write(key, *rest, **named)
            if key.endswith(name):
                raise Crash
            return written

        return wrapped

    def mend() -> None:
        harness.store.put, harness.store.put_if_absent = put, put_if_absent  # type: ignore[method-assign]

    harness.store.put, harness.store.put_if_absent = trap(put), trap(put_if_absent)  # type: ignore[method-assign]
    return mend


async def test_an_uploaded_file_with_another_hash_is_requested_again(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await post(http, brought())
    await harness.store.put(model_key("v1", "model.onnx"), b"half of it")
    await harness.store.put(model_key("v1", "weights.pt"), WEIGHTS)
    assert (await post(http, brought())).json() == {"version": "v1", "wanted": ["model.onnx"]}


async def test_without_weights_only_the_onnx_file_is_requested_and_the_card_says_so(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    assert (await post(http, brought(weights_sha256=None))).json()["wanted"] == ["model.onnx"]
    await bring(http, harness, brought(weights_sha256=None))
    assert "It came without weights." in harness.store.objects[model_key("v1", "card.md")].decode()


async def test_the_export_is_compared_with_its_weights_if_the_note_has_both_figures(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await bring(http, harness, brought(weights_map50=0.85, export_map50=0.80))
    assert run["state"] == "rejected"
    assert "5.00 points from its .pt" in run["reasons"][0]


async def test_figures_against_another_model_than_the_champion_are_refused(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await make_champion(harness, "v7")
    alone = await post(http, brought())
    assert (alone.status_code, alone.json()["code"]) == (409, "champion-moved")
    assert "the champion is v7 now" in alone.json()["detail"]
    beside = Comparison(champion="v7", champion_map50=0.80, gain=0.01, gain_lower=-0.02, gain_upper=0.04)
    run = await bring(http, harness, brought(comparison=beside))
    assert run["state"] == "rejected"
    assert "+1.0 points of mAP@0.5 against v7" in run["reasons"][0]


@pytest.mark.parametrize(
    ("classes", "word"),
    [
        (("egg", "moon cheese", "Tomatoes"), "nor the catalogue holds: moon cheese, Tomatoes (tomato here)"),
        (("egg", "tomatoe"), "were merged into others in samples/classes.json: tomatoe"),
    ],
)
async def test_unknown_classes_are_refused_by_name(
    harness: Harness, http: httpx2.AsyncClient, classes: tuple[str, ...], word: str
) -> None:
    known = (*class_list().classes, IngredientClass(id=3, label="tomatoe", redirects_to=0))
    await harness.store.put(CLASSES_KEY, ClassList(classes=known).model_dump_json().encode())
    answer = await post(http, brought(classes=classes))
    assert (answer.status_code, answer.json()["code"]) == (422, "classes-unknown")
    assert word in answer.json()["detail"]


async def test_a_catalogue_ingredient_without_samples_gets_the_next_class_id(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await bring(http, harness, brought(classes=("milk", "egg", "leek")))
    assert run["facts"]["class_ids"] == [3, 2, 4]
    grown = ClassList.model_validate_json(harness.store.objects[CLASSES_KEY])
    assert grown.names() == ("tomato", "banana", "egg", "milk", "leek")


async def test_a_model_registered_before_the_first_sample_starts_the_class_list(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await harness.store.delete(CLASSES_KEY)
    run = await bring(http, harness)
    assert run["facts"]["class_ids"] == [0, 1]
    assert ClassList.model_validate_json(harness.store.objects[CLASSES_KEY]).names() == ("egg", "tomato")


async def test_a_model_trained_after_a_registration_gets_the_next_version(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await bring(http, harness)
    await collect(harness.store, harness.samples)
    run = await harness.request()
    await harness.work()
    assert (await harness.state_of(run)).facts.version == "v2"


async def test_an_invalid_body_is_refused_with_its_field(http: httpx2.AsyncClient) -> None:
    body = json.loads(brought().model_dump_json()) | {"sha256": "x"}
    answer = await http.post("/models", json=body)
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "sha256")
