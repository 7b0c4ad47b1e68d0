"""Groups of photos: sessions by file name, near-duplicates by hash, tables of groups."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from io import BytesIO
from itertools import accumulate, combinations
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from savo_datasets.groups import Grouping, group_photos
from savo_datasets.look_alikes import difference_hash, look_alike_links
from savo_datasets.sessions import Capture, Photo, read_capture, session_groups


def test_camera_numbers_without_a_large_gap_are_one_session() -> None:
    names = ["IMG_0001", "IMG_0002", "IMG_0022", "IMG_0050", "DSC_0051", "carrot", "carrot_2", "egg"]
    groups = session_groups(names, 20)
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4], groups[5], groups[7]}) == 5
    assert groups[5] == groups[6]


def test_suffixes_of_export_tools_do_not_hide_the_session() -> None:
    groups = session_groups(["IMG_6906_jpeg.rf.3587a3c2", "IMG_6907_jpeg.rf.d6e8394e", "a" * 64, "b" * 64], 20)
    assert groups[0] == groups[1]
    assert groups[2] != groups[3]


def test_near_duplicates_share_a_group_whatever_their_names() -> None:
    photos = [Photo("one", 0b1111), Photo("two", 0b1110), Photo("three", 0xFFFF_0000_0000)]
    first, second, third = group_photos(photos, Grouping(near_bits=2)).groups
    assert first == second != third
    assert len(set(group_photos(photos, Grouping(near_bits=-1)).groups)) == 3


def test_a_table_of_groups_takes_precedence_over_names() -> None:
    photos = [Photo("IMG_1", 1 << 60), Photo("IMG_2", 0xFFFF), Photo("x", 0xFF00FF00FF)]
    groups = group_photos(photos, Grouping(named={"IMG_1": "anna", "IMG_2": "ben", "x": "anna"}, near_bits=-1)).groups
    assert groups[0] == groups[2] != groups[1]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 7), st.integers(0, 2**32))
def test_links_connect_exactly_the_photos_that_look_alike(originals: list[int], near_bits: int, seed: int) -> None:
    random = Random(seed)
    changed = [value ^ sum(1 << random.randrange(64) for _ in range(random.randrange(9))) for value in originals]
    hashes = [value % 2**64 for value in originals + changed]
    near = {pair for pair in combinations(range(len(hashes)), 2) if is_near(hashes, pair, near_bits)}
    found = set(look_alike_links(hashes, near_bits))
    assert found <= near
    assert components(found, len(hashes)) == components(near, len(hashes))


def is_near(hashes: list[int], pair: tuple[int, int], bits: int) -> bool:
    return (hashes[pair[0]] ^ hashes[pair[1]]).bit_count() <= bits


def components(pairs: set[tuple[int, int]], count: int) -> list[int]:
    labels = list(range(count))
    for one, other in pairs:
        low, high = sorted((labels[one], labels[other]))
        labels = [low if label == high else label for label in labels]
    return labels


def test_equal_hashes_are_linked_once_and_a_negative_distance_turns_the_rule_off() -> None:
    assert list(look_alike_links([5, 5, 6], 0)) == [(0, 1)]
    assert list(look_alike_links([5, 5, 6], -1)) == []


def series(count: int, step_bits: int, seed: int = 0) -> list[Photo]:
    """Photos IMG_0000, IMG_0001, … in which each differs from the one before in about `step_bits` bits."""
    random, value, photos = Random(seed), Random(seed).getrandbits(64), []
    for number in range(count):
        photos.append(Photo(f"IMG_{number:04}", value))
        value ^= sum({1 << random.randrange(64) for _ in range(step_bits)})
    return photos


def test_a_numbered_series_is_a_session_only_if_its_neighbours_look_alike() -> None:
    grouping = Grouping(near_bits=-1)
    assert len(set(group_photos(series(200, step_bits=10), grouping).groups)) == 1
    assert len(set(group_photos(series(200, step_bits=64), grouping).groups)) == 200


def with_gaps(*gaps: int) -> list[Photo]:
    """A session with a difference of `gaps` between the numbers of its photos. No two look alike."""
    return [Photo(f"IMG_{number}", Random(number).getrandbits(64)) for number in accumulate(gaps, initial=100)]


def pieces(photos: list[Photo], classes: list[set[int]]) -> list[list[int]]:
    groups = group_photos(photos, Grouping(near_bits=-1), classes, splits=3)
    assert len(set(groups.sessions)) == 1
    found: dict[str, list[int]] = {}
    for index, group in enumerate(groups.groups):
        found.setdefault(group, []).append(index)
    return list(found.values())


def test_a_session_is_cut_at_its_widest_gaps_for_a_class_that_it_alone_has() -> None:
    photos = with_gaps(1, 15, 1, 5, 3)
    assert pieces(photos, [{0}, {0}, {0}, {0}, {0}, {0}]) == [[0, 1], [2, 3], [4, 5]]
    assert pieces(photos, [set(), set(), {0}, set(), set(), {0}]) == [[0, 1, 2, 3], [4, 5]]


def test_a_session_is_not_cut_between_neighbours_of_one_missing_number_nor_without_need() -> None:
    assert pieces(with_gaps(1, 2, 2, 1), [{0}] * 5) == [[0, 1, 2, 3, 4]]
    assert pieces(with_gaps(1, 15, 1, 5, 3), [{0}, {0}, set(), set(), set(), set()]) == [[0, 1, 2, 3, 4, 5]]


def test_a_session_is_not_cut_where_its_classes_are_elsewhere_too() -> None:
    photos = [*with_gaps(1, 15, 1), Photo("egg", 1), Photo("milk", 2)]
    groups = group_photos(photos, Grouping(near_bits=-1), [{0}] * 6, splits=3)
    assert groups.groups == groups.sessions
    assert len(set(groups.groups)) == 3


def test_photos_that_look_alike_are_not_separated_by_a_cut() -> None:
    photos = [Photo("IMG_1", 7), Photo("IMG_2", 1 << 40), Photo("IMG_12", 7), Photo("IMG_22", 1 << 50 | 1 << 30)]
    groups = group_photos(photos, Grouping(near_bits=0), [{0}] * 4, splits=3).groups
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_capture_times_make_sessions_across_names() -> None:
    def taken(name: str, minutes: float, camera: str = "phone") -> Photo:
        return Photo(name, Random(name).getrandbits(64), Capture(camera, 60 * minutes))

    photos = [taken("a", 0), taken("b", 20), taken("c", 90), taken("d", 91), taken("e", 91, "other")]
    groups = group_photos(photos, Grouping(near_bits=-1)).groups
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3


def test_the_capture_time_and_the_camera_are_read_from_exif() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 3"
    exif.get_ifd(0x8769)[0x9003] = "2026:03:01 10:20:30"
    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    capture = read_capture(file.getvalue())
    assert capture is not None
    assert capture.camera == "Maker Model 3"
    assert datetime.fromtimestamp(capture.seconds, UTC).isoformat() == "2026-03-01T10:20:30+00:00"
    assert read_capture(b"no photo") is None


@pytest.mark.parametrize("size", [(1, 1), (60_000, 60_000), (2_000_000, 1)])
def test_a_picture_outside_the_limits_of_opencv_has_no_hash(size: tuple[int, int]) -> None:
    bitmap = bytes(cv2.imencode(".bmp", np.zeros((16, 16), np.uint8))[1].tobytes())
    assert difference_hash(bitmap) is not None
    assert difference_hash(bitmap[:18] + struct.pack("<ii", *size) + bitmap[26:]) is None
