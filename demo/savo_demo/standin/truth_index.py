"""Index of the stand-in's photos by their bytes and by a perceptual hash.

The hash is needed because the product strips metadata and sends smaller copies.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_datasets.labels import TruthBox
from savo_datasets.yolo_folder import photo_files, read_classes, read_truth

PhotoHash = NDArray[np.uint8]
"""256 bits: whether each of 16 × 16 patches is brighter than its right-hand neighbour."""

SIDE = 16
NEAR = 44
"""Largest number of differing bits of the same photo.

A smaller copy differs in about 5 bits (up to 25 if it is nearly black), another photo in about 100.
"""


@dataclass(frozen=True)
class KnownPhoto:
    """A photo of the folder: the sha256 of its bytes and its true boxes."""

    sha256: str
    truth: tuple[TruthBox, ...]


@dataclass
class TruthIndex:
    """A YOLO folder; photos that are added later are read at the next look-up."""

    folder: Path
    names: tuple[str, ...] = ()
    _files: set[Path] = field(default_factory=set)
    _by_bytes: dict[str, KnownPhoto] = field(default_factory=dict)
    _known: list[KnownPhoto] = field(default_factory=list)
    _hashes: list[PhotoHash] = field(default_factory=list)
    _modified_at: int = -1

    def refresh(self) -> int:
        """Read new photos and return their number. Raises `DatasetError` if the folder has no class names."""
        if not self.names:
            self.names = read_classes(self.folder)
        before, changed_at = len(self._known), (self.folder / "images").stat().st_mtime_ns
        if changed_at == self._modified_at:
            return 0
        for path in photo_files(self.folder / "images"):
            if path not in self._files:
                self._add(path)
        self._modified_at = changed_at
        return len(self._known) - before

    def find(self, photo: bytes) -> KnownPhoto | None:
        """The photo with these bytes, or the nearest by hash; None if none is near enough."""
        self.refresh()
        if known := self._by_bytes.get(hashlib.sha256(photo).hexdigest()):
            return known
        found = photo_hash(photo)
        if found is None or not self._hashes:
            return None
        differing = np.unpackbits(np.stack(self._hashes) ^ found, axis=1).sum(1)
        nearest = int(differing.argmin())
        return self._known[nearest] if differing[nearest] <= NEAR else None

    def _add(self, path: Path) -> None:
        photo = path.read_bytes()
        self._files.add(path)
        found = photo_hash(photo)
        if found is None:
            return
        known = KnownPhoto(hashlib.sha256(photo).hexdigest(), tuple(read_truth(path, self.names)))
        self._by_bytes.setdefault(known.sha256, known)
        self._known.append(known)
        self._hashes.append(found)

    def __len__(self) -> int:
        return len(self._known)


def photo_hash(photo: bytes) -> PhotoHash | None:
    """The difference hash of an upright photo, 32 bytes; None if it cannot be decoded."""
    grey = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_GRAYSCALE) if photo else None
    if grey is None:
        return None
    small = cv2.resize(np.asarray(grey, np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits((small[:, 1:] > small[:, :-1]).ravel())
