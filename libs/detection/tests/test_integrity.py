"""Integrity of photos: truncated files, damaged files and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest

from savo_detection.errors import UnreadablePhotoError, UnsupportedPhotoError
from savo_detection.photos.integrity import check_pixels, is_truncated

pillow_heif.register_heif_opener()

Draw = Callable[..., bytes]

FIRST_BYTES = {
    "JPEG": b"\xff\xd8\xff\xe0",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "WEBP": b"RIFF\xff\xff\0\0WEBP",
    "HEIF": b"\0\0\0\x18ftypheic",
}


@pytest.mark.parametrize("fmt", FIRST_BYTES)
def test_a_photo_is_truncated_where_its_end_is_missing(photo: Draw, fmt: str) -> None:
    data = photo(fmt=fmt)
    assert not is_truncated(data)
    assert is_truncated(data[: len(data) * 9 // 10])
    assert is_truncated(data[:-1])


@pytest.mark.parametrize("fmt", FIRST_BYTES)
@pytest.mark.parametrize("seed", range(5))
def test_noise_after_a_photo_s_first_bytes_is_not_truncated(fmt: str, seed: int) -> None:
    assert not is_truncated(FIRST_BYTES[fmt] + np.random.default_rng(seed).bytes(2000))


def test_a_file_that_is_not_a_photo_is_unsupported() -> None:
    with pytest.raises(UnsupportedPhotoError):
        is_truncated(b"%PDF-1.7")


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_undamaged_pixels_pass_the_check(photo: Draw, fmt: str) -> None:
    check_pixels(photo(fmt=fmt))
    check_pixels(photo(1600, 1200, fmt=fmt))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_pixels_that_do_not_decompress_are_refused(photo: Draw, fmt: str) -> None:
    data = bytearray(photo(400, 300, fmt))
    middle = len(data) // 2 if fmt != "JPEG" else data.index(b"\xff\xc4") + 5
    data[middle : middle + 60] = np.random.default_rng(3).bytes(60)
    with pytest.raises(UnreadablePhotoError, match="its data is damaged"):
        check_pixels(bytes(data))
