"""Quality limits, on real photos and on drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from savo_contracts.samples import RejectionReason
from savo_detection.photos.decoding import decode
from savo_detection.photos.quality import MEASURED_SIDE, QualityPolicy, measure, quality_problem


def draw(seed: int, *, width: int = 320, height: int = 240) -> Any:
    """A bright scene of twelve circles, RGB."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 180, np.uint8)
    for _ in range(12):
        (x, y), radius = rng.integers((0, 0), (width, height)), int(rng.integers(10, 60))
        cv2.circle(pixels, (int(x), int(y)), radius, rng.integers(30, 255, 3).tolist(), -1)
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def rejection_of(pixels: Any) -> RejectionReason | None:
    problem = quality_problem(measure(pixels, min(pixels.shape[:2])), QualityPolicy())
    return problem.reason if problem else None


@pytest.mark.photos
def test_real_photos_pass_and_their_blurred_and_darkened_copies_do_not(real_photos: Path) -> None:
    files = sorted((real_photos / "images").glob("*.jpg"))
    photos = [decode(file.read_bytes(), target_side=MEASURED_SIDE) for file in files]
    assert np.mean([rejection_of(photo) is None for photo in photos]) >= 0.99
    for photo in photos[::3]:
        blurred = cv2.GaussianBlur(photo, (0, 0), max(photo.shape[:2]) / 80)
        assert rejection_of(blurred) is RejectionReason.BLURRED
        assert rejection_of((photo * 0.15).astype(np.uint8)) is RejectionReason.DARK


def test_the_sharpness_of_a_large_photo_is_measured_at_the_size_of_a_small_one() -> None:
    small = cv2.GaussianBlur(draw(4, width=512, height=384), (0, 0), 2)
    large = cv2.resize(small, (4096, 3072), interpolation=cv2.INTER_CUBIC)
    assert measure(large, 3072).sharpness == pytest.approx(measure(small, 384).sharpness, rel=0.25)


def test_a_lit_object_before_a_black_background_is_not_dark() -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[160:320, 240:400] = draw(4, width=160, height=160)
    assert measure(pixels, 480).mean_luma < QualityPolicy().min_mean_luma
    assert rejection_of(pixels) is None


def test_a_flat_dark_photo_is_dark_rather_than_blurred() -> None:
    assert rejection_of(np.full((300, 400, 3), 12, np.uint8)) is RejectionReason.DARK


def test_a_rejection_names_the_measured_value_and_the_limit() -> None:
    problem = quality_problem(measure(np.full((300, 400, 3), 200, np.uint8), 300), QualityPolicy())
    assert problem
    assert problem.detail == "sharpness is 0.0, at least 5.0 is needed"
