from __future__ import annotations

from pathlib import Path

import pytest

from savo_datasets.yolo_folder import labelled_photos
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import CLASSES, draw_scenes
from savo_demo.plan import PlanError, plan_from


def test_without_variables_it_generates_scenes_trains_and_ends(tmp_path: Path) -> None:
    plan = plan_from({}, folder=tmp_path)
    assert (plan.photos, plan.gate, plan.train, plan.keep) == (None, None, True, False)


def test_the_caller_s_settings_and_keys_are_not_passed_to_the_demo(tmp_path: Path) -> None:
    environment = plan_from({}, folder=tmp_path).environment(
        {
            "R2_BUCKET_NAME": "mine",
            "GOOGLE_API_KEY": "secret",
            "SAVO_DATABASE_URL": "postgres://",
            "PATH": "/bin",
            "PORT": "1",
        }
    )
    assert environment["PATH"] == "/bin"
    assert not {"R2_BUCKET_NAME", "GOOGLE_API_KEY", "SAVO_DATABASE_URL", "PORT"} & set(environment)


def test_a_lowered_gate_is_passed_to_the_trainer_and_printed(tmp_path: Path) -> None:
    plan = plan_from({"DEMO_GATE": "0.2"}, folder=tmp_path)
    environment = plan.environment({})
    assert (environment["SAVO_GATE_MAP50"], environment["SAVO_GATE_MAP50_LOWER"]) == ("0.2", "0.1")
    assert any("gate is lowered" in text for text in plan.shortcuts())


def test_without_a_lowered_gate_the_trainer_s_default_applies(tmp_path: Path) -> None:
    assert not [name for name in plan_from({}, folder=tmp_path).environment({}) if name.startswith("SAVO_GATE")]


def test_without_training_the_threshold_is_unreachable(tmp_path: Path) -> None:
    assert int(plan_from({"DEMO_TRAIN": "0"}, folder=tmp_path).environment({})["SAVO_TRAINING_THRESHOLD"]) > 100_000


def test_every_real_photo_is_uploaded_or_gets_a_defect(tmp_path: Path) -> None:
    write_scenes(tmp_path / "photos", (scene for scene in draw_scenes(80, 6) if scene.truth))
    plan = plan_from({"DEMO_PHOTOS": str(tmp_path / "photos")}, folder=tmp_path)
    assert plan.scans_per_round + 12 == sum(
        bool(photo.truth) for photo in labelled_photos(tmp_path / "photos", CLASSES)
    )


def test_too_few_real_photos_are_refused(tmp_path: Path) -> None:
    write_scenes(tmp_path, draw_scenes(2, 1))
    with pytest.raises(PlanError, match="at least 60"):
        plan_from({"DEMO_PHOTOS": str(tmp_path)}, folder=tmp_path)


@pytest.mark.parametrize(
    "variables", [{"DEMO_GATE": "high"}, {"DEMO_GATE": "75"}, {"DEMO_TRAIN": "maybe"}, {"DEMO_PHOTOS": "/nowhere"}]
)
def test_an_invalid_variable_is_named_with_its_value(tmp_path: Path, variables: dict[str, str]) -> None:
    with pytest.raises(PlanError) as error:
        plan_from(variables, folder=tmp_path)
    ((name, value),) = variables.items()
    assert name in str(error.value)
    assert value in str(error.value)
