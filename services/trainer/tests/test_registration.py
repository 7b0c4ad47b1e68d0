"""Registration of a model that was trained elsewhere: one version for one file, judged and announced once."""

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
from services.trainer.tests.trainer_fakes import Crash, Harness, class_list, make_champion, open_harness, store_samples

ONNX, PLAIN, WEIGHTS = b"onnx", b"plain onnx", b"weights"
MEASURED = Evaluation(
    map50=0.81, map50_lower=0.77, map50_upper=0.85, images=40, boxes=160, per_class={"tomato": 0.9, "egg": 0.72}
)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def submission(**changes: Any) -> SubmittedModel:
    fields = {
        "sha256": sha256_of(ONNX),
        "bytes": len(ONNX),
        "image_size": 640,
        "classes": ("egg", "tomato"),
        "weights_sha256": sha256_of(WEIGHTS),
    }
    return SubmittedModel(
        **fields
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
        harness.run_store, harness.numbers, harness.store, GatePolicy(), harness.clock, harness.ended.append
    )
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=runs_app(harness.run_store, register=register)), base_url="http://trainer"
    ) as client:
        yield client


async def post(http: httpx2.AsyncClient, model: SubmittedModel) -> httpx2.Response:
    return await http.post("/models", json=model.model_dump(mode="json"))


async def submit(http: httpx2.AsyncClient, harness: Harness, model: SubmittedModel | None = None) -> dict[str, Any]:
    """Submit, upload the missing files and submit again, like the command."""
    model = model or submission()
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
    first = await post(http, submission())
    assert (first.status_code, first.json()) == (202, {"version": "v1", "wanted": ["model.onnx", "weights.pt"]})
    run = await submit(http, harness)
    assert (run["state"], run["facts"]["version"]) == ("registered", "v1")
    events = await published_by_outbox(harness.runtime)
    registered = next(event for event in events if isinstance(event, ModelRegistered))
    assert (registered.version, registered.key, registered.sha256, registered.classes) == (
        "v1", "models/ingredients/v1/model.onnx", sha256_of(ONNX), ("egg", "tomato"),
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
    optimised = submission(plain_sha256=sha256_of(PLAIN), optimization="Its graph is optimised.")
    assert (await post(http, optimised)).json()["wanted"] == ["model.onnx", "model.plain.onnx", "weights.pt"]
    run = await submit(http, harness, optimised)
    assert run["id"] == run_id_of(sha256_of(PLAIN))
    assert (run["facts"]["onnx_sha256"], run["facts"]["plain_onnx_sha256"]) == (sha256_of(ONNX), sha256_of(PLAIN))
    report = ModelReport.model_validate_json(harness.store.objects[model_key("v1", "report.json")])
    assert (report.onnx_sha256, report.plain_onnx_sha256) == (sha256_of(ONNX), sha256_of(PLAIN))
    card = harness.store.objects[model_key("v1", "card.md")].decode()
    assert f"Its graph is optimised. It was made from model.plain.onnx, sha256 `{sha256_of(PLAIN)}`." in card
    again = await post(http, submission(sha256=sha256_of(b"optimised in another way"), plain_sha256=sha256_of(PLAIN)))
    assert (again.status_code, again.json()) == (200, run)


async def test_a_refused_model_gets_figures_and_next_steps_and_no_registration_event(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await submit(
        http, harness, submission(evaluation=MEASURED.model_copy(update={"map50": 0.41, "map50_lower": 0.36}))
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
    once = await submit(http, harness)
    again = await post(http, submission(by="tom", evaluation=MEASURED.model_copy(update={"map50": 0.1})))
    assert (again.status_code, again.json()) == (200, once)
    assert len(await published_by_outbox(harness.runtime)) == 3
    other = await post(http, submission(sha256=sha256_of(b"another")))
    assert other.json()["version"] == "v2"


@pytest.mark.parametrize("moment", ["classes.json", "report.json", "card.md"])
async def test_a_registration_that_is_repeated_after_a_crash_has_one_version(
    harness: Harness, http: httpx2.AsyncClient, moment: str
) -> None:
    restore = crash_after(harness, moment)
    with pytest.raises(Crash):
        await submit(http, harness)
    restore()
    run = await submit(http, harness)
    assert (run["state"], run["facts"]["version"]) == ("registered", "v1")
    assert {key.split("/")[2] for key in harness.store.objects if key.startswith("models/")} == {"v1"}
    assert [type(event).__name__ for event in await published_by_outbox(harness.runtime)].count("ModelRegistered") == 1


def crash_after(harness: Harness, name: str) -> Callable[[], None]:
    """Crash the trainer right after it wrote this file. Returns a function that restores the store."""
    put, put_if_absent = harness.store.put, harness.store.put_if_absent

    def crashing(write: Callable[..., Any]) -> Any:
        async def wrapped(key: str, *args: Any, **kwargs: Any) -> Any:
            written = await write(key, *args, **kwargs)
            if key.endswith(name):
                raise Crash
            return written

        return wrapped

    def restore() -> None:
        harness.store.put, harness.store.put_if_absent = put, put_if_absent  # type: ignore[method-assign]

    harness.store.put, harness.store.put_if_absent = crashing(put), crashing(put_if_absent)  # type: ignore[method-assign]
    return restore


async def test_an_uploaded_file_with_another_hash_is_requested_again(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await post(http, submission())
    await harness.store.put(model_key("v1", "model.onnx"), b"half of it")
    await harness.store.put(model_key("v1", "weights.pt"), WEIGHTS)
    assert (await post(http, submission())).json() == {"version": "v1", "wanted": ["model.onnx"]}


async def test_without_weights_only_the_onnx_file_is_requested_and_the_card_says_so(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    assert (await post(http, submission(weights_sha256=None))).json()["wanted"] == ["model.onnx"]
    await submit(http, harness, submission(weights_sha256=None))
    assert "It came without weights." in harness.store.objects[model_key("v1", "card.md")].decode()


async def test_the_export_is_compared_with_its_weights_if_the_note_has_both_figures(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await submit(http, harness, submission(weights_map50=0.85, export_map50=0.80))
    assert run["state"] == "rejected"
    assert "5.00 points from its .pt" in run["reasons"][0]


async def test_figures_against_another_model_than_the_champion_are_refused(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await make_champion(harness, "v7")
    alone = await post(http, submission())
    assert (alone.status_code, alone.json()["code"]) == (409, "champion-moved")
    assert "the champion is v7 now" in alone.json()["detail"]
    comparison = Comparison(champion="v7", champion_map50=0.80, gain=0.01, gain_lower=-0.02, gain_upper=0.04)
    run = await submit(http, harness, submission(comparison=comparison))
    assert run["state"] == "rejected"
    assert "+1.0 points of mAP@0.5 against v7" in run["reasons"][0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("egg", "moon cheese", "Tomatoes"), "nor the catalogue holds: moon cheese, Tomatoes (tomato here)"),
        (("egg", "tomatoe"), "were merged into others in samples/classes.json: tomatoe (now tomato)"),
    ],
)
async def test_unknown_classes_are_refused_by_name(
    harness: Harness, http: httpx2.AsyncClient, classes: tuple[str, ...], message: str
) -> None:
    known = (*class_list().classes, IngredientClass(id=3, label="tomatoe", redirects_to=0))
    await harness.store.put(CLASSES_KEY, ClassList(classes=known).model_dump_json().encode())
    answer = await post(http, submission(classes=classes))
    assert (answer.status_code, answer.json()["code"]) == (422, "classes-unknown")
    assert message in answer.json()["detail"]


async def test_a_catalogue_ingredient_without_samples_gets_the_next_class_id(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    run = await submit(http, harness, submission(classes=("milk", "egg", "leek")))
    assert run["facts"]["class_ids"] == [3, 2, 4]
    grown = ClassList.model_validate_json(harness.store.objects[CLASSES_KEY])
    assert grown.names() == ("tomato", "banana", "egg", "milk", "leek")


async def test_a_model_registered_before_the_first_sample_starts_the_class_list(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await harness.store.delete(CLASSES_KEY)
    run = await submit(http, harness)
    assert run["facts"]["class_ids"] == [0, 1]
    assert ClassList.model_validate_json(harness.store.objects[CLASSES_KEY]).names() == ("egg", "tomato")


async def test_a_model_trained_after_a_registration_gets_the_next_version(
    harness: Harness, http: httpx2.AsyncClient
) -> None:
    await submit(http, harness)
    await store_samples(harness.store, harness.samples)
    run = await harness.request()
    await harness.work()
    assert (await harness.state_of(run)).facts.version == "v2"


async def test_an_invalid_body_is_refused_with_its_field(http: httpx2.AsyncClient) -> None:
    body = json.loads(submission().model_dump_json()) | {"sha256": "x"}
    answer = await http.post("/models", json=body)
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "sha256")
