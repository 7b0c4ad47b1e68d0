"""Letterbox: fits a photo into the network's input with its aspect ratio kept, and maps boxes back to the photo.

The arithmetic is ultralytics' (bilinear, centred, grey 114), so a model gets the same input as in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_detection.photos.decoding import Pixels

__all__ = ["STRIDE", "Letterbox", "letterbox"]

PADDING = 114
STRIDE = 32
"""A detection network halves its input five times, so both sides of the input are multiples of this many pixels."""
_SCALE = np.float32(1 / 255)


@dataclass(frozen=True)
class Letterbox:
    """Position of the photo in the network's input, and the input's size, in pixels of the input."""

    left: int
    top: int
    width: int
    height: int
    input_width: int
    input_height: int

    @classmethod
    def fit(cls, photo_width: int, photo_height: int, input_width: int, input_height: int) -> Letterbox:
        """The photo as large as possible in the centre of the input."""
        ratio = min(input_width / photo_width, input_height / photo_height)
        # A panorama keeps at least one row.
        width, height = max(1, round(photo_width * ratio)), max(1, round(photo_height * ratio))
        return cls._centred(width, height, input_width, input_height)

    def rectangular(self) -> Letterbox:
        """The photo at the same size in the smallest input that contains it, as ultralytics does for a free input size.

        In a square input a quarter is grey padding for a photo of 4:3, which takes as long as the photo's pixels.
        """
        input_width, input_height = -(-self.width // STRIDE) * STRIDE, -(-self.height // STRIDE) * STRIDE
        return self._centred(self.width, self.height, input_width, input_height)

    @classmethod
    def _centred(cls, width: int, height: int, input_width: int, input_height: int) -> Letterbox:
        left, top = round((input_width - width) / 2 - 0.1), round((input_height - height) / 2 - 0.1)
        return cls(left, top, width, height, input_width, input_height)

    def to_photo(self, corners: NDArray[np.float32]) -> NDArray[np.float64]:
        """Boxes N × 4 (x1, y1, x2, y2) in input pixels → fractions of the photo, clipped to 0…1."""
        shifted = corners.astype(np.float64) - (self.left, self.top, self.left, self.top)
        return np.clip(shifted / (self.width, self.height, self.width, self.height), 0.0, 1.0)

    def to_input(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes N × 4 in fractions of the photo → input pixels."""
        return corners * (self.width, self.height, self.width, self.height) + (self.left, self.top, self.left, self.top)


def letterbox(pixels: Pixels, placement: Letterbox, target: NDArray[np.float32]) -> None:
    """Write RGB pixels, resized, padded and scaled to 0…1, to `target`: 3 × height × width of the network's input."""
    size = placement.width, placement.height
    fitted = pixels if pixels.shape[1::-1] == size else cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    target.fill(PADDING * _SCALE)
    bottom, right = placement.top + placement.height, placement.left + placement.width
    inside = target[:, placement.top : bottom, placement.left : right]
    np.multiply(fitted.transpose(2, 0, 1), _SCALE, out=inside)
