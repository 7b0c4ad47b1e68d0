from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import labelled_photos, photo_files
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import CLASSES, draw_scenes
from savo_demo.upload_factory import GeneratedPhotos, RealPhotos, UploadFactory


@pytest.fixture
def upload_factory(tmp_path: Path) -> UploadFactory:
    upload_factory = UploadFactory(GeneratedPhotos(3), tmp_path / "truth", np.random.default_rng(1), photos_per_user=2)
    upload_factory.open()
    return upload_factory


def test_a_round_has_the_good_photos_and_exactly_the_expected_defects(upload_factory: UploadFactory) -> None:
    uploads = upload_factory.round_uploads("first", 20, {"blurred": 2, "dark": 1, "duplicate": 3, "broken": 2})
    assert len(uploads) == 28
    assert sorted(Counter(upload.photo for upload in uploads).values())[-3:] == [2, 2, 2]
    assert len({upload.user for upload in uploads if "user" in upload.user}) == 10


def test_every_uploaded_photo_that_can_be_decoded_is_in_the_truth_folder(upload_factory: UploadFactory) -> None:
    upload_factory.round_uploads("first", 6, {"blurred": 1, "dark": 1, "broken": 1})
    assert len(photo_files(upload_factory.truth)) == 8
    assert all(photo.truth for photo in labelled_photos(upload_factory.truth, CLASSES))


def test_guests_are_different_users_without_consent_to_training(upload_factory: UploadFactory) -> None:
    uploads = list(upload_factory.non_consenting_uploads(upload_factory.photos_of_non_consenting_users(5), 40))
    assert len({upload.user for upload in uploads}) == 40
    assert all(upload.consent is False for upload in uploads)


def test_real_photos_are_taken_once_in_the_order_of_their_names(tmp_path: Path) -> None:
    scenes = [scene for scene in draw_scenes(9, 4) if scene.truth]
    write_scenes(tmp_path, scenes)
    source = RealPhotos(tmp_path)
    assert [photo.data for photo in source.take(4)] == [scene.jpeg for scene in scenes[:4]]
    assert len(list(source.take(100))) == len(scenes) - 4
    assert list(source.take(1)) == []


def test_an_invalid_label_is_reported_with_its_file(tmp_path: Path) -> None:
    write_scenes(tmp_path, draw_scenes(1, 1))
    label = next((tmp_path / "labels").iterdir())
    label.write_text("99 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetError, match=label.name):
        list(labelled_photos(tmp_path, CLASSES))
