"""Which known photo is this? By its bytes, else by how it looks: the product strips metadata and makes photos smaller before it sends them."""

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
"""Bits that may differ. A smaller copy of the same photo differs in about 5 (and up to 25 when it is nearly black), other photos in about 100."""


@dataclass(frozen=True)
class Known:
    """A photo of the folder: the hash of its bytes and what is in it."""

    sha256: str
    truth: tuple[TruthBox, ...]


@dataclass
class TruthIndex:
    """A YOLO-form folder, read again for the photos that came since."""

    folder: Path
    names: tuple[str, ...] = ()
    _files: set[Path] = field(default_factory=set)
    _by_bytes: dict[str, Known] = field(default_factory=dict)
    _known: list[Known] = field(default_factory=list)
    _hashes: list[PhotoHash] = field(default_factory=list)
    _seen_at: int = -1

    def refresh(self) -> int:
        """Take in new photos; how many. Raises `DatasetError` when the folder has no class names."""
        if not self.names:
            self.names = read_classes(self.folder)
        before, changed_at = len(self._known), (self.folder / "images").stat().st_mtime_ns
        if changed_at == self._seen_at:
            return 0
        for path in photo_files(self.folder / "images"):
            if path not in self._files:
                self._take(path)
        self._seen_at = changed_at
        return len(self._known) - before

    def find(self, photo: bytes) -> Known | None:
        """The known photo with these bytes, or the one that looks most like it; None when there is none."""
        self.refresh()
        if known := self._by_bytes.get(hashlib.sha256(photo).hexdigest()):
            return known
        found = photo_hash(photo)
        if found is None or not self._hashes:
            return None
        differing = np.unpackbits(np.stack(self._hashes) ^ found, axis=1).sum(1)
        nearest = int(differing.argmin())
        return self._known[nearest] if differing[nearest] <= NEAR else None

    def _take(self, path: Path) -> None:
        photo = path.read_bytes()
        self._files.add(path)
        found = photo_hash(photo)
        if found is None:
            return
        known = Known(hashlib.sha256(photo).hexdigest(), tuple(read_truth(path, self.names)))
        self._by_bytes.setdefault(known.sha256, known)
        self._known.append(known)
        self._hashes.append(found)

    def __len__(self) -> int:
        return len(self._known)


def photo_hash(photo: bytes) -> PhotoHash | None:
    """The difference hash of a photo (upright), 32 bytes; None when it cannot be read."""
    grey = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_GRAYSCALE) if photo else None
    if grey is None:
        return None
    small = cv2.resize(np.asarray(grey, np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits((small[:, 1:] > small[:, :-1]).ravel())
