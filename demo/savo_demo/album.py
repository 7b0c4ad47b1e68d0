"""The photos of one run, with their truth: drawn or real, good or spoilt, and who sends which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from savo_datasets.labels import TruthBox, format_labels
from savo_datasets.yolo_folder import labelled_photos, read_classes
from savo_datasets.yolo_writer import add_photo, create_folder
from savo_demo.drawing.scenes import CLASSES, Flaw, Scene, draw_scene, spoil
from savo_demo.phones import Errand, as_people_say
from savo_demo.standin.truth_index import PhotoHash, photo_hash

PLACES = ("fridge", "pantry", "freezer")

TOO_ALIKE = 40
"""Differing bits of 256 under which a drawn scene is drawn again: look-alikes of two people would link two splits."""


@dataclass(frozen=True)
class Shot:
    """A photo with its truth, before anybody sends it."""

    name: str
    photo: bytes
    truth: tuple[TruthBox, ...]


class Source(Protocol):
    """Where photos come from; each is given once."""

    names: tuple[str, ...]

    def take(self, count: int) -> Iterator[Shot]:
        """At most `count`; fewer when there are no more."""
        ...


@dataclass
class DrawnScenes:
    """As many as one likes, no two alike, something to see in each."""

    seed: int
    names: tuple[str, ...] = CLASSES
    _drawn: int = 0
    _hashes: list[PhotoHash] = field(default_factory=list)

    def take(self, count: int) -> Iterator[Shot]:
        taken = 0
        while taken < count:
            scene = draw_scene(self.seed, self._drawn)
            self._drawn += 1
            if scene.truth and self._is_new(scene):
                taken += 1
                yield Shot(scene.name, scene.jpeg, scene.truth)

    def _is_new(self, scene: Scene) -> bool:
        found = photo_hash(scene.jpeg)
        assert found is not None
        alike = (
            bool(self._hashes) and int(np.unpackbits(np.stack(self._hashes) ^ found, axis=1).sum(1).min()) < TOO_ALIKE
        )
        if not alike:
            self._hashes.append(found)
        return not alike


@dataclass
class RealPhotos:
    """A folder's photos by name: shots of one session lie side by side, so that one person's photos are from one session."""

    folder: Path
    names: tuple[str, ...] = ()
    _waiting: list[Shot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = read_classes(self.folder)
        photos = labelled_photos(self.folder, self.names)
        self._waiting = [
            Shot(photo.path.stem, photo.path.read_bytes(), tuple(photo.truth)) for photo in photos if photo.truth
        ]

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, count: int) -> Iterator[Shot]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return iter(taken)


@dataclass
class Album:
    """Writes every photo and its truth where the stand-in looks, and hands out errands."""

    source: Source
    truth: Path
    rng: np.random.Generator
    photos_a_user: int = 2

    def open(self) -> None:
        create_folder(self.truth, self.source.names)

    def turn(self, name: str, count: int, flaws: Mapping[Flaw, int]) -> list[Errand]:
        """`count` good photos from many people, and of each flaw the wanted number, among them."""
        shots = list(self.source.take(count))
        errands = [
            self._errand(shot, f"{name}-user-{place // self.photos_a_user:03d}") for place, shot in enumerate(shots)
        ]
        planted = [self._spoilt(shots, flaw, number, name) for flaw, many in flaws.items() for number in range(many)]
        for errand in planted:
            # Not among the first, so that a duplicate's original is on its way before it.
            errands.insert(int(self.rng.integers(len(errands) // 2, len(errands))), errand)
        return errands

    def guests(self, count: int) -> list[Shot]:
        """Photos for people who use the app and keep their photos to themselves."""
        shots = list(self.source.take(count))
        for shot in shots:
            self._remember(shot)
        return shots

    def guest_errands(self, shots: Sequence[Shot], most: int) -> Iterator[Errand]:
        """Each of another person, none of them for training."""
        for number in range(most):
            shot = shots[int(self.rng.integers(len(shots)))]
            yield Errand(
                f"guest-{number:05d}", shot.photo, as_people_say(shot.truth), PLACES[number % 3], consent=False
            )

    def _errand(self, shot: Shot, user: str) -> Errand:
        self._remember(shot)
        return Errand(user, shot.photo, as_people_say(shot.truth), PLACES[int(self.rng.integers(3))])

    def _spoilt(self, shots: Sequence[Shot], flaw: Flaw, number: int, name: str) -> Errand:
        """A duplicate is of one of the early good ones; the others are of photos that are not sent otherwise."""
        if flaw == "duplicate":
            shot = shots[number * 3]
            return Errand(f"{name}-again-{number:03d}", shot.photo, as_people_say(shot.truth))
        original = next(self.source.take(1), None) or shots[-1 - number]
        shot = Shot(f"{original.name}-{flaw}", spoil(original.photo, flaw, self.rng), original.truth)
        if flaw != "broken":
            self._remember(shot)
        return Errand(f"{name}-{flaw}-{number:03d}", shot.photo, as_people_say(shot.truth))

    def _remember(self, shot: Shot) -> None:
        suffix = ".png" if shot.photo.startswith(b"\x89PNG") else ".jpg"
        add_photo(self.truth, f"{shot.name}{suffix}", shot.photo, format_labels(shot.truth, self.source.names))
