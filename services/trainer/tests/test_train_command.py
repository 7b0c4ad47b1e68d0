"""`savo train` and `savo models export` with a training program that only writes files."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from savo_datasets.yolo_folder import read_data_yaml
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.command_line.model_delivery import delivery_lines
from savo_trainer.commands import register
from savo_trainer.training.plan import Export, Trained
from services.trainer.tests.test_prepare import make_folder, prepare, summary_of

app = typer.Typer()
register(app)
cli = CliRunner()


@pytest.fixture(autouse=True)
def datasets_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Each training's data.yaml. The training itself writes two small files in no time."""
    seen: list[dict[str, Any]] = []

    async def train(_: LocalRunner, plan: Any, data: Path, job: Path, on_epoch: Any, **named: Any) -> Trained:
        seen.append(yaml.safe_load(data.read_text(encoding="utf-8")))
        weights = named["output"] / named["name"] / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        (weights / "best.onnx").write_bytes(bytes(1_200_000))
        write_checkpoint(weights / "best.pt", 1_200_000)
        return Trained(weights / "best.pt", Export(weights / "best.onnx"), 0.5, 0.5, 1.0)

    async def export(_: LocalRunner, weights: Path, image_size: int, folder: Path) -> Export:
        weights.with_suffix(".onnx").write_bytes(bytes(2_300_000))
        return Export(weights.with_suffix(".onnx"))

    monkeypatch.setattr(LocalRunner, "train", train)
    monkeypatch.setattr(LocalRunner, "export", export)
    monkeypatch.chdir(tmp_path)
    return seen


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    source = make_folder(tmp_path / "in", [f"photo{letter}" for letter in "abcdef"])
    code, output = prepare("--input", source, "--output", tmp_path / "datasets" / "savo_v1")
    assert code == 0, output
    return tmp_path / "datasets" / "savo_v1"


def write_checkpoint(path: Path, size: int) -> None:
    """A zip file, as PyTorch writes checkpoints, with `size` bytes of content."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", bytes(size))


def run(*arguments: object) -> str:
    result = cli.invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_has_the_name_of_the_data_set_and_later_ones_a_number(dataset: Path, tmp_path: Path) -> None:
    printed = [run("train", "--data", "./datasets/savo_v1/dataset.yaml") for _ in range(3)]
    names = sorted(path.name for path in (tmp_path / "runs/train").iterdir())
    assert names == ["savo_v1", "savo_v1-2", "savo_v1-3"]
    assert str(tmp_path / "runs/train/savo_v1-3/weights/best.pt") in printed[2]
    assert "best.onnx: 1.2 MB, under 100 MB: add it to the git repository\n" in printed[0]
    assert "  git add -f runs/train/savo_v1/weights/best.onnx\n" in printed[0]


def test_a_given_name_is_used_again(dataset: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run("train", "--data", dataset / "dataset.yaml", "--name", "mine")
    assert [path.name for path in (tmp_path / "runs/train").iterdir()] == ["mine"]


def test_a_folder_name_with_other_characters_becomes_a_run_name(dataset: Path, tmp_path: Path) -> None:
    dataset.rename(dataset.with_name("my data (1)"))
    run("train", "--data", dataset.with_name("my data (1)") / "dataset.yaml")
    assert [path.name for path in (tmp_path / "runs/train").iterdir()] == ["my-data-1"]


def test_a_data_set_that_was_moved_is_trained_where_it_is(
    dataset: Path, tmp_path: Path, datasets_seen: list[dict[str, Any]]
) -> None:
    moved = tmp_path / "drive" / "savo_v1"
    moved.parent.mkdir()
    shutil.move(dataset, moved)
    run("train", "--data", moved / "dataset.yaml")
    shutil.copytree(moved, dataset)  # the former folder has other photos now
    run("train", "--data", moved / "dataset.yaml")
    assert [seen["path"] for seen in datasets_seen] == [str(moved)] * 2
    assert (datasets_seen[0]["train"], datasets_seen[0]["names"]) == ("images/train", ["tomato", "banana"])


def test_the_path_of_a_description_in_another_folder_is_kept(dataset: Path, tmp_path: Path) -> None:
    for path in (str(dataset), "datasets/savo_v1"):
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({"path": path, "train": "images/train", "names": ["egg"]}))
        assert read_data_yaml(tmp_path / "data.yaml")["path"] == dataset


def test_json_has_the_sizes_and_the_way_of_delivery(dataset: Path, tmp_path: Path) -> None:
    trained = summary_of(run("train", "--data", dataset / "dataset.yaml", "--json"))
    assert (trained["weights_mb"], trained["onnx_mb"], trained["delivery"]) == (1.2, 1.2, "git")
    exported = summary_of(run("models", "export", trained["weights"], "--json"))
    assert (exported["onnx_mb"], exported["delivery"]) == (2.3, "git")


def test_export_prints_the_size_and_the_line_for_git(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.pt", 1)
    printed = run("models", "export", tmp_path / "best.pt")
    assert "best.onnx: 2.3 MB, under 100 MB: add it to the git repository\n  git add -f best.onnx\n" in printed


def test_a_file_of_100_mb_goes_to_r2_with_a_line_to_copy(tmp_path: Path) -> None:
    onnx = tmp_path / "best.onnx"
    with onnx.open("wb") as file:
        file.truncate(100_000_000)
    assert delivery_lines(onnx) == [
        "best.onnx: 100.0 MB, too large for git (100 MB): upload it to R2",
        '  aws s3 cp best.onnx "s3://$R2_BUCKET_NAME/models/best.onnx" '
        '--endpoint-url "https://$R2_ACCOUNT_ID.r2.cloudflarestorage.com"',
        "  and set SAVO_CUSTOM_VISION_MODEL_PATH=s3://$R2_BUCKET_NAME/models/best.onnx",
    ]


@pytest.mark.parametrize("command", [["models", "export"], ["train", "--data", "{data}", "--model"]])
def test_a_file_that_is_no_checkpoint_is_refused_before_torch_is_imported(
    dataset: Path, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"no checkpoint")
    arguments = [part.format(data=dataset / "dataset.yaml") for part in command]
    result = cli.invoke(app, [*arguments, str(tmp_path / "garbage.pt")])
    assert result.exit_code == 1
    assert "garbage.pt is no complete PyTorch checkpoint (a zip file)" in " ".join(result.output.split())
