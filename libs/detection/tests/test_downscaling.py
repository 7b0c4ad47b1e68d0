"""Downscaled JPEGs for providers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from savo_detection.errors import UnreadablePhotoError
from savo_detection.photos.decoding import decode, probe
from savo_detection.photos.downscaling import downscaled_jpeg


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(4000, 3000, (1024, 768)), (600, 2048, (300, 1024)), (800, 600, (800, 600)), (3000, 1, (1024, 1))],
)
def test_the_longer_side_is_at_most_the_limit(
    photo: Callable[..., bytes], width: int, height: int, expected: tuple[int, int]
) -> None:
    small = downscaled_jpeg(photo(width, height), 1024)
    facts = probe(small)
    assert (facts.media_type, facts.width, facts.height) == ("image/jpeg", *expected)


def test_colours_are_kept(photo: Callable[..., bytes]) -> None:
    pixels = decode(downscaled_jpeg(photo(2000, 1000, "PNG"), 500)).astype(int)
    assert np.abs(pixels[50, 50] - (255, 0, 0)).max() < 30
    assert np.abs(pixels[200, 50] - (0, 0, 255)).max() < 30


def test_an_unreadable_photo_is_refused(photo: Callable[..., bytes]) -> None:
    with pytest.raises(UnreadablePhotoError):
        downscaled_jpeg(photo()[:100], 1024)
