"""Groups of photos: sessions by file name, near-duplicates by hash, tables of groups."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from savo_datasets.groups import Grouping, Photo, difference_hash, group_photos, near_pairs, session_groups


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
    first, second, third = group_photos(photos, Grouping(near_bits=2))
    assert first == second != third
    assert len(set(group_photos(photos, Grouping(near_bits=-1)))) == 3


def test_a_table_of_groups_takes_precedence_over_names() -> None:
    photos = [Photo("IMG_1", 1 << 60), Photo("IMG_2", 0xFFFF), Photo("x", 0xFF00FF00FF)]
    groups = group_photos(photos, Grouping(named={"IMG_1": "anna", "IMG_2": "ben", "x": "anna"}, near_bits=-1))
    assert groups[0] == groups[2] != groups[1]


def test_near_pairs_are_found_across_chunks() -> None:
    hashes = [1 << (number % 60) | number << 4 for number in range(600)] + [1]
    assert all(hashes[first] == hashes[second] for first, second in near_pairs(hashes, 0))
    assert list(near_pairs([5, 5, 6], 0)) == [(0, 1)]


@pytest.mark.parametrize("size", [(1, 1), (60_000, 60_000), (2_000_000, 1)])
def test_a_picture_outside_the_limits_of_opencv_has_no_hash(size: tuple[int, int]) -> None:
    bitmap = bytes(cv2.imencode(".bmp", np.zeros((16, 16), np.uint8))[1].tobytes())
    assert difference_hash(bitmap) is not None
    assert difference_hash(bitmap[:18] + struct.pack("<ii", *size) + bitmap[26:]) is None
