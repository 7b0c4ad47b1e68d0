"""Quality limits, on real photos and on drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.photo_quality import FAULTS, GOOD, measure_all, photo_paths, read_originals
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import RejectionReason
from savo_detection.photos.decoding import decode
from savo_detection.photos.quality import MEASURED_SIDE, Quality, QualityPolicy, measure, quality_problem


def draw(seed: int, *, width: int = 320, height: int = 240) -> Any:
    """A bright scene of twelve circles, RGB."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 180, np.uint8)
    for _ in range(12):
        (x, y), radius = rng.integers((0, 0), (width, height)), int(rng.integers(10, 60))
        cv2.circle(pixels, (int(x), int(y)), radius, rng.integers(30, 255, 3).tolist(), -1)
    return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def measured(pixels: Any, boxes: Sequence[BoundingBox] = ()) -> Quality:
    return measure(pixels, min(pixels.shape[:2]), boxes)


def rejection_of(pixels: Any, boxes: Sequence[BoundingBox] = ()) -> RejectionReason | None:
    problem = quality_problem(measured(pixels, boxes), QualityPolicy())
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


@pytest.mark.photos
def test_each_fault_of_a_real_photo_is_refused_with_its_reason(real_photos: Path) -> None:
    originals = read_originals(photo_paths([real_photos])[::60])
    faulty = measure_all(originals, FAULTS)
    assert {fault.name: refused_as(faulty[fault.name], fault.reason) for fault in FAULTS} == {
        fault.name: len(originals) for fault in FAULTS
    }
    assert [quality_problem(good, QualityPolicy()) for good in faulty[GOOD]] == [None] * len(originals)


def refused_as(qualities: Sequence[Quality], reason: RejectionReason) -> int:
    problems = [quality_problem(quality, QualityPolicy()) for quality in qualities]
    return sum(problem is not None and problem.reason is reason for problem in problems)


def test_the_sharpness_of_a_large_photo_is_measured_at_the_size_of_a_small_one() -> None:
    small = cv2.GaussianBlur(draw(4, width=512, height=384), (0, 0), 2)
    large = cv2.resize(small, (4096, 3072), interpolation=cv2.INTER_CUBIC)
    assert measured(large).sharpness == pytest.approx(measured(small).sharpness, rel=0.25)
    assert measured(large).detail == pytest.approx(measured(small).detail, rel=0.25)


def test_detail_depends_neither_on_light_nor_on_contrast() -> None:
    scene = draw(4, width=512, height=384)
    dull = (scene * 0.3 + 60).astype(np.uint8)
    assert measured(dull).detail == pytest.approx(measured(scene).detail, rel=0.25)


def test_noise_does_not_make_a_blurred_photo_sharp() -> None:
    blurred = cv2.GaussianBlur(draw(4, width=512, height=384), (0, 0), 512 / 80)
    noisy = np.clip(blurred + np.random.default_rng(1).normal(0, 8, blurred.shape), 0, 255).astype(np.uint8)
    assert measured(noisy).sharpness > 100
    assert rejection_of(noisy) is RejectionReason.BLURRED


def test_sharpness_is_that_of_the_labelled_boxes() -> None:
    scene = draw(4, width=512, height=384)
    left, right = (BoundingBox(x=x, y=0.1, width=0.4, height=0.8) for x in (0.05, 0.55))
    scene[:, :256] = cv2.GaussianBlur(scene, (0, 0), 8)[:, :256]
    assert rejection_of(scene, [left]) is RejectionReason.BLURRED
    assert rejection_of(scene, [right]) is None
    assert rejection_of(scene) is None


def test_tiny_boxes_are_measured_with_the_whole_photo() -> None:
    scene = draw(4, width=512, height=384)
    tiny = BoundingBox(x=0.5, y=0.5, width=0.001, height=0.001)
    assert measured(scene, [tiny]) == measured(scene)


def test_a_lit_object_before_a_black_background_is_not_dark() -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[160:320, 240:400] = draw(4, width=160, height=160)
    assert measure(pixels, 480).mean_luma < QualityPolicy().min_mean_luma
    assert rejection_of(pixels) is None


def test_a_flat_dark_photo_is_dark_rather_than_blurred() -> None:
    assert rejection_of(np.full((300, 400, 3), 12, np.uint8)) is RejectionReason.DARK


def test_white_and_grey_photos_are_not_called_blurred() -> None:
    assert rejection_of(np.full((300, 400, 3), 255, np.uint8)) is RejectionReason.OVER_EXPOSED
    assert rejection_of(np.full((300, 400, 3), 200, np.uint8)) is RejectionReason.LOW_CONTRAST


@pytest.mark.parametrize("size", [(160, 160), (161, 2000), (3, 3), (1, 1)])
def test_photos_of_every_shape_are_measured(size: tuple[int, int]) -> None:
    assert measured(np.full((*size, 3), 90, np.uint8)).detail == 0


def test_a_rejection_names_the_measured_value_and_the_limit() -> None:
    blurred = cv2.GaussianBlur(draw(4, width=512, height=384), (0, 0), 9)
    details = {
        problem.reason: problem.detail
        for pixels in (blurred, np.full((300, 400, 3), 200, np.uint8), np.full((90, 400, 3), 200, np.uint8))
        if (problem := quality_problem(measured(pixels), QualityPolicy(min_sharpness=0)))
    }
    assert details == {
        RejectionReason.BLURRED: "fine detail is 2.0 % of the contours, at least 5.5 % is needed",
        RejectionReason.LOW_CONTRAST: "contrast is 0 (of 255), at least 22 is needed",
        RejectionReason.TOO_SMALL: "the shorter side has 90 px, at least 160 px are needed",
    }
    problem = quality_problem(measured(blurred), QualityPolicy())
    assert problem
    assert problem.detail.endswith("at least 5.0 is needed")
