"""`savo models register`, with small networks that return constant boxes and a trainer in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from libs.detection.tests.tiny_models import NAMES, constant_model, model_to_optimize, raw_rows
from savo_contracts.documents import CLASSES_KEY, ClassList, IngredientClass, ModelReport, model_key
from savo_detection.model_optimization import optimize
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.factory import open_store
from savo_trainer.adapters.http import runs_app
from savo_trainer.adapters.trainer_client import TrainerClient
from savo_trainer.command_line import candidate
from savo_trainer.command_line.training_note import read_note, write_note
from savo_trainer.commands import register as register_commands
from savo_trainer.errors import TrainerRefusedError
from savo_trainer.models.gate import GatePolicy
from savo_trainer.models.registration import RegisterModel
from savo_trainer.training.plan import Export, Trained
from services.trainer.tests.trainer_fakes import Harness, make_champion, open_harness

app = typer.Typer()
register_commands(app)

APPLE, MILK = (16, 16, 32, 32, 0, 0.9), (40, 32, 60, 56, 1, 0.8)
FALSE_DETECTION = (2, 2, 12, 12, 2, 0.95)
"""Pixels of the 64 × 64 input, class, score."""
LABELS = "0 0.375 0.375 0.25 0.25\n1 0.78125 0.6875 0.3125 0.375\n"
GOOD, POOR = constant_model(raw_rows([APPLE, MILK], 3)), constant_model(raw_rows([APPLE, FALSE_DETECTION], 3))
PLAIN = model_to_optimize(raw_rows([APPLE, MILK], 3))
OPTIMIZED = optimize(PLAIN).data


@dataclass
class InProcessTrainer:
    """The trainer's HTTP API on its own harness and event loop: the command has another loop."""

    harness: Harness
    loop: asyncio.AbstractEventLoop

    def get(self, path: str) -> dict[str, Any]:
        return dict(self.wait(self._request("GET", path)))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self.wait(self._request("POST", path, json=body)))

    async def _request(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        parts = self.harness
        served = runs_app(
            parts.run_store,
            register=RegisterModel(parts.run_store, parts.numbers, parts.store, GatePolicy(), parts.clock),
        )
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=served), base_url="http://trainer") as client:
            answer = await client.request(method, path, **request)
        body: dict[str, Any] = answer.json()
        if not answer.is_success:
            raise TrainerRefusedError(body["code"], body["detail"])
        return body

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessTrainer]:
    """Uses the same folder as the command's object store."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = open_harness(tmp_path / "runs")
    in_process = InProcessTrainer(asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(30), loop)
    in_process.harness.store = open_store(RuntimeSettings(data_dir=tmp_path / "data"))  # type: ignore[assignment]
    monkeypatch.setattr(TrainerClient, "from_settings", lambda: in_process)
    yield in_process
    in_process.wait(context.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Models as `savo train` writes them, and a data set with a holdout of six photos."""
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind / "test").mkdir(parents=True)
    for number in range(6):
        out = BytesIO()
        Image.new("RGB", (128, 128), (number * 40, 120, 90)).save(out, "JPEG")
        (tmp_path / "set/images/test" / f"{number}.jpg").write_bytes(out.getvalue())
        (tmp_path / "set/labels/test" / f"{number}.txt").write_text(LABELS)
    (tmp_path / "set/dataset.yaml").write_text(
        json.dumps({"path": str(tmp_path / "set"), "test": "images/test", "names": dict(enumerate(NAMES))})
    )
    (tmp_path / "good.onnx").write_bytes(GOOD)
    (tmp_path / "good.pt").write_bytes(b"weights")
    (tmp_path / "poor.onnx").write_bytes(POOR)
    return tmp_path


def register(folder: Path, model: str, *options: str) -> Result:
    return CliRunner().invoke(
        app,
        [
            "models",
            "register",
            "--model",
            str(folder / model),
            "--data",
            str(folder / "set/dataset.yaml"),
            "--by",
            "mia",
            *options,
        ],
    )


def test_a_good_model_is_registered_with_its_weights_and_exits_with_0(trainer: InProcessTrainer, folder: Path) -> None:
    result = register(folder, "good.onnx", "--reason", "trained on the GPU machine")
    assert result.exit_code == 0, result.output
    assert "v1: registered" in result.output
    assert "v1: mAP@0.5 0.995 (95 % interval" in result.output
    assert "savo models promote v1 --reason" in result.output
    stored = folder / "data/objects"
    assert (stored / model_key("v1", "weights.pt")).read_bytes() == b"weights"
    assert (stored / model_key("v1", "model.onnx")).read_bytes() == GOOD


def test_a_model_with_a_graph_to_optimise_is_measured_and_registered_optimised(
    trainer: InProcessTrainer, folder: Path
) -> None:
    (folder / "plain.onnx").write_bytes(PLAIN)
    assert register(folder, "plain.onnx").exit_code == 0
    stored = folder / "data/objects"
    assert (stored / model_key("v1", "model.onnx")).read_bytes() == OPTIMIZED
    assert (stored / model_key("v1", "model.plain.onnx")).read_bytes() == PLAIN
    report = ModelReport.model_validate_json((stored / model_key("v1", "report.json")).read_bytes())
    assert (report.onnx_sha256, report.plain_onnx_sha256, report.onnx_bytes) == (
        sha256(OPTIMIZED).hexdigest(),
        sha256(PLAIN).hexdigest(),
        len(OPTIMIZED),
    )
    card = (stored / model_key("v1", "card.md")).read_text()
    assert f"Its graph is optimised. It was made from model.plain.onnx, sha256 `{report.plain_onnx_sha256}`." in card
    assert (folder / "plain.onnx").read_bytes() == PLAIN, "the operator's file does not change"


def test_a_model_that_was_optimised_before_is_registered_with_the_export_beside_it(
    trainer: InProcessTrainer, folder: Path
) -> None:
    (folder / "best.onnx").write_bytes(OPTIMIZED)
    (folder / "best.plain.onnx").write_bytes(PLAIN)
    assert register(folder, "best.onnx").exit_code == 0
    stored = folder / "data/objects"
    assert (stored / model_key("v1", "model.onnx")).read_bytes() == OPTIMIZED
    assert (stored / model_key("v1", "model.plain.onnx")).read_bytes() == PLAIN
    for same in ("best.onnx", "best.plain.onnx"):
        assert "v1: registered, and was before" in register(folder, same).output


def test_an_optimised_model_without_its_export_is_registered_and_the_card_says_so(
    trainer: InProcessTrainer, folder: Path
) -> None:
    (folder / "best.onnx").write_bytes(OPTIMIZED)
    (folder / "best.plain.onnx").write_bytes(GOOD)
    assert register(folder, "best.onnx").exit_code == 0
    stored = folder / "data/objects"
    assert not (stored / model_key("v1", "model.plain.onnx")).exists()
    assert (
        "It came optimised, without the export that it was made from."
        in (stored / model_key("v1", "card.md")).read_text()
    )
    assert "and was before" in register(folder, "best.onnx").output


def test_a_model_whose_optimised_graph_finds_other_boxes_is_registered_as_it_is(
    trainer: InProcessTrainer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "optimize", lambda data: optimize(data, lambda _: POOR))
    assert register(folder, "good.onnx").exit_code == 0
    stored = folder / "data/objects"
    assert (stored / model_key("v1", "model.onnx")).read_bytes() == GOOD
    assert not (stored / model_key("v1", "model.plain.onnx")).exists()
    assert (
        "It is the export as it was written: its optimised graph finds other boxes."
        in (stored / model_key("v1", "card.md")).read_text()
    )


def test_a_refused_model_exits_with_1_and_prints_figures_and_next_steps(
    trainer: InProcessTrainer, folder: Path
) -> None:
    result = register(folder, "poor.onnx")
    assert result.exit_code == 1
    assert "v1: refused by the gate" in result.output
    assert "a first model needs 0.750" in result.output
    assert "next: Train it on more samples" in result.output
    assert "savo models promote v1 --force" in result.output


def test_a_later_model_is_compared_with_the_champion_on_the_same_photos(
    trainer: InProcessTrainer, folder: Path
) -> None:
    register(folder, "poor.onnx")
    trainer.wait(make_champion(trainer.harness, "v1"))
    run = json.loads(register(folder, "good.onnx", "--json").stdout)
    assert (run["state"], run["facts"]["version"], run["facts"]["comparison"]["champion"]) == ("registered", "v2", "v1")
    assert run["facts"]["comparison"]["gain"] > 0.02


def test_a_repeated_command_says_so_and_measures_nothing(trainer: InProcessTrainer, folder: Path) -> None:
    register(folder, "good.onnx")
    again = register(folder, "good.onnx", "--split", "val")
    assert again.exit_code == 0, "the split is not read"
    assert "v1: registered, and was before: nothing is done twice" in again.output


def test_the_figures_of_the_training_note_are_judged_too(trainer: InProcessTrainer, folder: Path) -> None:
    write_note(Trained(folder / "good.pt", Export(folder / "good.onnx"), 0.93, 0.90, 12.0), train_samples=120)
    result = register(folder, "good.onnx")
    assert result.exit_code == 1
    assert "the ONNX is 3.00 points from its .pt" in result.output


def test_a_training_note_of_another_file_is_ignored(folder: Path) -> None:
    write_note(Trained(folder / "good.pt", Export(folder / "good.onnx"), 0.93, 0.93, 12.0), train_samples=120)
    assert read_note(folder / "good.onnx", file_sha256(folder / "good.onnx")) is not None
    assert read_note(folder / "good.onnx", file_sha256(folder / "poor.onnx")) is None


def test_weights_are_not_stored_with_no_weights(trainer: InProcessTrainer, folder: Path) -> None:
    assert register(folder, "good.onnx", "--no-weights").exit_code == 0
    assert not (folder / "data/objects" / model_key("v1", "weights.pt")).exists()


def test_unknown_classes_stop_the_command_before_any_measurement(trainer: InProcessTrainer, folder: Path) -> None:
    known = ClassList(
        classes=(IngredientClass(id=0, label=NAMES[0]), IngredientClass(id=1, label=NAMES[1], redirects_to=0))
    )
    trainer.wait(trainer.harness.store.put(CLASSES_KEY, known.model_dump_json().encode()))
    result = register(folder, "good.onnx")
    assert result.exit_code == 1
    assert f"were merged into others in samples/classes.json: {NAMES[1]}" in result.output


@pytest.mark.parametrize(
    ("model", "message"),
    [("missing.onnx", "cannot be read"), ("set/dataset.yaml", "no ONNX model"), ("alone.pt", "savo models export")],
)
def test_an_invalid_model_file_is_named(trainer: InProcessTrainer, folder: Path, model: str, message: str) -> None:
    result = register(folder, model)
    assert (result.exit_code, message in result.output) == (1, True), result.output
