from __future__ import annotations

import hashlib
from collections import Counter

import cv2
import numpy as np
import pytest

from savo_contracts.ingredients import CATALOGUE
from savo_datasets.labels import TruthBox
from savo_demo.drawing.brushes import Array
from savo_demo.drawing.scenes import CLASSES, Scene, SceneSettings, add_defect, draw_scene, draw_scenes


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(draw_scenes(60, seed=5))


def pixels(photo: bytes) -> Array:
    image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image)


def test_the_same_numbers_draw_the_same_bytes() -> None:
    assert draw_scene(3, 4) == draw_scene(3, 4)
    assert draw_scene(3, 4).jpeg != draw_scene(3, 5).jpeg
    assert draw_scene(3, 4).jpeg != draw_scene(4, 4).jpeg


def test_a_scene_does_not_depend_on_those_drawn_before_it() -> None:
    alone = draw_scene(9, 7).jpeg
    assert [scene.jpeg for scene in draw_scenes(8, 9)][7] == alone


def test_no_two_scenes_are_the_same_photo(scenes: list[Scene]) -> None:
    assert len({hashlib.sha256(scene.jpeg).digest() for scene in scenes}) == len(scenes)


def test_photos_have_the_requested_size(scenes: list[Scene]) -> None:
    assert pixels(scenes[0].jpeg).shape == (480, 640, 3)
    assert pixels(draw_scene(1, 1, SceneSettings(width=320, height=240)).jpeg).shape == (240, 320, 3)


def test_there_are_at_least_eight_ingredients_of_the_catalogue() -> None:
    assert len(CLASSES) >= 8
    assert set(CLASSES) <= set(CATALOGUE)


def test_a_scene_has_at_most_four_ingredients_and_every_class_occurs(scenes: list[Scene]) -> None:
    assert max(len(scene.truth) for scene in scenes) <= 4
    assert set(Counter(item.label for scene in scenes for item in scene.truth)) == set(CLASSES)


@pytest.mark.parametrize("index", range(12))
def test_boxes_are_tight_around_the_visible_parts(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visible pixels of an ingredient reach all four sides of its box and none is outside."""
    scene = draw_scene(21, index)
    owners = _owners(21, index, monkeypatch)
    height, width = owners.shape
    for item in scene.truth:
        left, top, right, bottom = (round(value) for value in item.bbox.to_pixels(width, height))
        numbers = [
            number for number in np.unique(owners) if number and _box_of(owners, number) == (left, top, right, bottom)
        ]
        assert numbers, f"no ingredient's visible pixels fill exactly the box of {item.label}"


def _owners(seed: int, index: int, monkeypatch: pytest.MonkeyPatch) -> Array:
    from savo_demo.drawing import scenes

    owners: list[Array] = []
    original = scenes._Picture.truth

    def spy(picture: scenes._Picture) -> tuple[TruthBox, ...]:
        owners.append(picture.owner)
        return original(picture)

    monkeypatch.setattr(scenes._Picture, "truth", spy)
    draw_scene(seed, index)
    return owners[0]


def _box_of(owners: Array, number: int) -> tuple[int, int, int, int]:
    rows, columns = np.where(owners == number)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_an_ingredient_that_is_mostly_hidden_has_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    from savo_demo.drawing import scenes

    picture = scenes._Picture(np.random.default_rng(1), SceneSettings())
    picture.labels, picture.full = ["egg", "lemon"], [1000, 1000]
    picture.owner[:] = 0
    picture.owner[:10, :45] = 1  # 450 of 1000 pixels can be seen
    picture.owner[20:30, :35] = 2  # 350 of 1000
    assert [item.label for item in picture.truth()] == ["egg"]


def sharpness(photo: bytes) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(pixels(photo), cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def test_a_photo_has_exactly_its_defect(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(2)
    for scene in scenes[:20]:
        blurred, dark, broken = (add_defect(scene.jpeg, defect, rng) for defect in ("blurred", "dark", "broken"))
        assert sharpness(blurred) < 4 < 15 < sharpness(scene.jpeg)
        assert pixels(dark).mean() < 25 < 45 < pixels(scene.jpeg).mean()
        assert scene.jpeg.startswith(broken)
        assert len(broken) < len(scene.jpeg) * 0.7
        assert add_defect(scene.jpeg, "duplicate", rng) == scene.jpeg
