from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import labelled_photos, photo_files
from savo_demo.album import Album, DrawnScenes, RealPhotos
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import CLASSES, draw_scenes


@pytest.fixture
def album(tmp_path: Path) -> Album:
    album = Album(DrawnScenes(3), tmp_path / "truth", np.random.default_rng(1), photos_a_user=2)
    album.open()
    return album


def test_a_turn_has_the_good_photos_and_exactly_the_planted_flaws(album: Album) -> None:
    errands = album.turn("first", 20, {"blurred": 2, "dark": 1, "duplicate": 3, "broken": 2})
    assert len(errands) == 28
    assert sorted(Counter(errand.photo for errand in errands).values())[-3:] == [2, 2, 2]
    assert len({errand.user for errand in errands if "user" in errand.user}) == 10


def test_every_photo_that_is_sent_and_readable_is_in_the_truth_folder(album: Album) -> None:
    album.turn("first", 6, {"blurred": 1, "dark": 1, "broken": 1})
    assert len(photo_files(album.truth)) == 8
    assert all(photo.truth for photo in labelled_photos(album.truth, CLASSES))


def test_guests_are_all_different_and_keep_their_photos_to_themselves(album: Album) -> None:
    errands = list(album.guest_errands(album.guests(5), 40))
    assert len({errand.user for errand in errands}) == 40
    assert all(errand.consent is False for errand in errands)


def test_real_photos_come_in_the_order_of_their_names_until_there_are_no_more(tmp_path: Path) -> None:
    scenes = [scene for scene in draw_scenes(9, 4) if scene.truth]
    write_scenes(tmp_path, scenes)
    source = RealPhotos(tmp_path)
    assert [shot.photo for shot in source.take(4)] == [scene.jpeg for scene in scenes[:4]]
    assert len(list(source.take(100))) == len(scenes) - 4
    assert list(source.take(1)) == []


def test_a_label_that_is_none_names_its_file(tmp_path: Path) -> None:
    write_scenes(tmp_path, draw_scenes(1, 1))
    label = next((tmp_path / "labels").iterdir())
    label.write_text("99 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetError, match=label.name):
        list(labelled_photos(tmp_path, CLASSES))
