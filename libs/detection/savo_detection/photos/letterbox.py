"""Fit a photo into the network's rectangle with its aspect kept, and map boxes back.

The same arithmetic as the training library's (bilinear, centred, grey 114): a model gets here what it got in training.
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
"""Pixels: a detection network halves its input five times, so both sides are multiples of this."""
_SCALE = np.float32(1 / 255)


@dataclass(frozen=True)
class Letterbox:
    """Where the photo lies in the network's input, and that input's size, all in its pixels."""

    left: int
    top: int
    width: int
    height: int
    input_width: int
    input_height: int

    @classmethod
    def fit(cls, photo_width: int, photo_height: int, input_width: int, input_height: int) -> Letterbox:
        ratio = min(input_width / photo_width, input_height / photo_height)
        # A panorama still keeps one row.
        width, height = max(1, round(photo_width * ratio)), max(1, round(photo_height * ratio))
        return cls._centred(width, height, input_width, input_height)

    def rectangular(self) -> Letterbox:
        """The photo as large, in the smallest input that holds it: ultralytics pads so for a network of free size.

        A photo of 4:3 leaves a quarter of a square grey, and a network takes as long for grey.
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


def letterbox(pixels: Pixels, place: Letterbox, into: NDArray[np.float32]) -> None:
    """RGB pixels → numbers in 0…1 in `into`, which is 3 × height × width of the network's input."""
    size = place.width, place.height
    fitted = pixels if pixels.shape[1::-1] == size else cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    into.fill(PADDING * _SCALE)
    inside = into[:, place.top : place.top + place.height, place.left : place.left + place.width]
    np.multiply(fitted.transpose(2, 0, 1), _SCALE, out=inside)
