"""Photos that look alike: which changes of a photo the rule sees through, and what it keeps apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from savo_datasets.look_alikes import RULE
from savo_datasets.signatures import BLANK, SIDE, Hashes, Signature, copies_of, hashes_of, signature_of_pixels

Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 240, 320


def scene(seed: int) -> Pixels:
    """Thirty circles of random size, place and brightness, grey."""
    rng = np.random.default_rng(seed)
    pixels = np.full((HEIGHT, WIDTH), 120, np.uint8)
    for _ in range(30):
        (x, y), radius = rng.integers((0, 0), (WIDTH, HEIGHT)).tolist(), int(rng.integers(8, 45))
        cv2.circle(pixels, (x, y), radius, int(rng.integers(20, 190)), -1, cv2.LINE_AA)
    return pixels


def moved(pixels: Pixels) -> Pixels:
    """A second shot by hand: rotated, nearer and shifted."""
    transform = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), 1.5, 1.03)
    transform[:, 2] += (4, -5)
    return np.asarray(cv2.warpAffine(pixels, transform, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def recompressed(pixels: Pixels) -> Pixels:
    small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def brighter(pixels: Pixels) -> Pixels:
    return np.asarray(np.clip(pixels * 1.3, 0, 255), np.uint8)


def cropped(pixels: Pixels) -> Pixels:
    return pixels[:, WIDTH // 20 :]


def reflected(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(moved(pixels)[:, ::-1])


def links(signatures: list[Signature]) -> set[tuple[int, int]]:
    return set(RULE.links(signatures))


@pytest.mark.parametrize("change", [moved, recompressed, brighter, cropped, reflected])
def test_a_changed_copy_looks_like_its_original_alone(change: Callable[[Pixels], Pixels]) -> None:
    originals = [scene(seed) for seed in range(12)]
    signatures = [signature_of_pixels(pixels) for pixels in originals]
    assert links(signatures) == set()
    found = links([*signatures, *(signature_of_pixels(change(pixels)) for pixels in originals)])
    assert found == {(index, index + 12) for index in range(12)}


def test_colour_and_grey_pixels_have_the_same_signature() -> None:
    grey = scene(1)
    assert signature_of_pixels(np.stack([grey] * 3, axis=2)) == signature_of_pixels(grey)


def test_photos_without_contrast_look_like_no_other() -> None:
    white = signature_of_pixels(np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert links([BLANK, BLANK, white, white]) == set()


def test_a_series_is_connected_by_one_link_for_each_photo() -> None:
    signatures = [signature_of_pixels(brighter(scene(1)) - np.uint8(shade)) for shade in range(6)]
    found = links(signatures)
    assert len(found) == 5
    assert {later for _, later in found} == set(range(1, 6))


def test_of_candidates_with_one_label_one_is_found() -> None:
    copies = [signature_of_pixels(change(scene(1))) for change in (moved, recompressed, brighter)]
    photo = signature_of_pixels(scene(1))
    assert sorted(RULE.matches(photo, copies)) == [0, 1, 2]
    assert len(RULE.matches(photo, copies, ["train", "train", "train"])) == 1
    assert len(RULE.matches(photo, copies, ["train", "test", "test"])) == 2


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), st.integers(0, 2**64 - 1))
def test_candidates_are_the_hashes_in_reach_nearest_first(values: list[int], phash: int) -> None:
    photo = Signature(BLANK.copy, values[0], phash)
    dhashes = np.array([value ^ (value >> 50) for value in values], np.uint64)
    phashes = np.array([phash ^ (value >> 40) for value in values], np.uint64)
    distances = [
        ((int(one) ^ photo.dhash).bit_count(), (int(other) ^ phash).bit_count())
        for one, other in zip(dhashes, phashes, strict=True)
    ]
    near = [i for i, (one, other) in enumerate(distances) if one <= RULE.dhash_bits and other <= RULE.phash_bits]
    expected = sorted(near, key=lambda index: sum(distances[index]))
    assert RULE.candidates(photo, Hashes(dhashes, phashes)).tolist() == expected
    bounded = replace(RULE, most_candidates=2)
    assert bounded.candidates(photo, Hashes(dhashes, phashes)).tolist() == expected[:2]


def test_hashes_of_several_copies_are_those_of_each() -> None:
    signatures = [signature_of_pixels(scene(seed)) for seed in range(5)]
    dhashes, phashes = hashes_of(copies_of(signatures))
    assert dhashes.tolist() == [signature.dhash for signature in signatures]
    assert phashes.tolist() == [signature.phash for signature in signatures]
    assert {len(signature.copy) for signature in signatures} == {SIDE * SIDE}
