"""The photos of a demo run with their truth: generated or real, good or defective, and who uploads each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from savo_datasets.labels import TruthBox, format_labels
from savo_datasets.yolo_folder import labelled_photos, read_classes
from savo_datasets.yolo_writer import add_photo, create_folder
from savo_demo.drawing.scenes import CLASSES, Defect, Scene, add_defect, draw_scene
from savo_demo.simulated_users import Upload, with_catalogue_labels
from savo_demo.standin.truth_index import PhotoHash, photo_hash

PLACES = ("fridge", "pantry", "freezer")

TOO_ALIKE = 40
"""Differing bits of 256 below which a scene is generated again: near-duplicates of two users would link two splits."""


@dataclass(frozen=True)
class SourcePhoto:
    """An encoded photo and the true boxes in it."""

    name: str
    data: bytes
    truth: tuple[TruthBox, ...]


class PhotoSource(Protocol):
    """A source that yields each of its photos once. `names` are its class names in order."""

    names: tuple[str, ...]

    def take(self, count: int) -> Iterator[SourcePhoto]:
        """The next `count` photos, or fewer at the end."""
        ...


@dataclass
class GeneratedPhotos:
    """Any number of generated scenes, each with an ingredient and none a near-duplicate of another."""

    seed: int
    names: tuple[str, ...] = CLASSES
    _drawn: int = 0
    _hashes: list[PhotoHash] = field(default_factory=list)

    def take(self, count: int) -> Iterator[SourcePhoto]:
        taken = 0
        while taken < count:
            scene = draw_scene(self.seed, self._drawn)
            self._drawn += 1
            if scene.truth and self._is_new(scene):
                taken += 1
                yield SourcePhoto(scene.name, scene.jpeg, scene.truth)

    def _is_new(self, scene: Scene) -> bool:
        found = photo_hash(scene.jpeg)
        assert found is not None
        is_duplicate = (
            bool(self._hashes) and int(np.unpackbits(np.stack(self._hashes) ^ found, axis=1).sum(1).min()) < TOO_ALIKE
        )
        if not is_duplicate:
            self._hashes.append(found)
        return not is_duplicate


@dataclass
class RealPhotos:
    """The photos of a YOLO folder in the order of their names, so that a user's photos are of the same session."""

    folder: Path
    names: tuple[str, ...] = ()
    _waiting: list[SourcePhoto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = read_classes(self.folder)
        photos = labelled_photos(self.folder, self.names)
        self._waiting = [
            SourcePhoto(photo.path.stem, photo.path.read_bytes(), tuple(photo.truth)) for photo in photos if photo.truth
        ]

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, count: int) -> Iterator[SourcePhoto]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return iter(taken)


@dataclass
class UploadFactory:
    """Turns photos into uploads, and writes each with its truth to the folder of the stand-in."""

    source: PhotoSource
    truth: Path
    rng: np.random.Generator
    photos_per_user: int = 2

    def open(self) -> None:
        """Create the folder of the stand-in."""
        create_folder(self.truth, self.source.names)

    def round_uploads(self, name: str, count: int, defects: Mapping[Defect, int]) -> list[Upload]:
        """`count` good photos of many users, mixed with the given number of photos for each defect."""
        photos = list(self.source.take(count))
        uploads = [
            self._upload(photo, f"{name}-user-{place // self.photos_per_user:03d}")
            for place, photo in enumerate(photos)
        ]
        defective_uploads = [
            self._defective_upload(photos, defect, number, name)
            for defect, many in defects.items()
            for number in range(many)
        ]
        for upload in defective_uploads:
            # In the second half, so that the original of a duplicate is uploaded before it.
            uploads.insert(int(self.rng.integers(len(uploads) // 2, len(uploads))), upload)
        return uploads

    def photos_of_non_consenting_users(self, count: int) -> list[SourcePhoto]:
        """Photos for users who do not consent to training."""
        photos = list(self.source.take(count))
        for photo in photos:
            self._add_to_truth(photo)
        return photos

    def non_consenting_uploads(self, photos: Sequence[SourcePhoto], most: int) -> Iterator[Upload]:
        """`most` uploads of different users without consent."""
        for number in range(most):
            photo = photos[int(self.rng.integers(len(photos)))]
            yield Upload(
                f"guest-{number:05d}", photo.data, with_catalogue_labels(photo.truth), PLACES[number % 3], consent=False
            )

    def _upload(self, photo: SourcePhoto, user: str) -> Upload:
        self._add_to_truth(photo)
        return Upload(user, photo.data, with_catalogue_labels(photo.truth), PLACES[int(self.rng.integers(3))])

    def _defective_upload(self, photos: Sequence[SourcePhoto], defect: Defect, number: int, name: str) -> Upload:
        """A duplicate copies an early good photo; other defects are added to photos that are not uploaded otherwise."""
        if defect == "duplicate":
            photo = photos[number * 3]
            return Upload(f"{name}-again-{number:03d}", photo.data, with_catalogue_labels(photo.truth))
        original = next(self.source.take(1), None) or photos[-1 - number]
        photo = SourcePhoto(f"{original.name}-{defect}", add_defect(original.data, defect, self.rng), original.truth)
        if defect != "broken":
            self._add_to_truth(photo)
        return Upload(f"{name}-{defect}-{number:03d}", photo.data, with_catalogue_labels(photo.truth))

    def _add_to_truth(self, photo: SourcePhoto) -> None:
        suffix = ".png" if photo.data.startswith(b"\x89PNG") else ".jpg"
        add_photo(self.truth, f"{photo.name}{suffix}", photo.data, format_labels(photo.truth, self.source.names))
