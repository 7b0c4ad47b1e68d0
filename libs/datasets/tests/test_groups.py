"""Groups of photos: sessions by file name, near-duplicates by hash, tables of groups."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from PIL import Image

from savo_datasets.errors import DatasetError
from savo_datasets.groups import Grouping, group_photos, read_groups, read_groups_if_any
from savo_datasets.sessions import Capture, Photo, read_capture, session_groups
from savo_datasets.signatures import BLANK, Signature, signature_of, signature_of_pixels


def picture(seed: int, noise: int = 0) -> Signature:
    """Signature of a picture of random patches."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.integers(60, 190, (9, 9), np.uint8), (240, 180), interpolation=cv2.INTER_CUBIC)
    return signature_of_pixels(np.asarray(pixels + rng.integers(0, noise + 1, pixels.shape), np.uint8))


def hashed(name: str, dhash: int, capture: Capture | None = None) -> Photo:
    """A photo without contrast: it looks like no other, whatever its hash."""
    return Photo(name, Signature(BLANK.copy, dhash, 0), capture)


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
    photos = [Photo("one", picture(1)), Photo("two", picture(1, noise=4)), Photo("three", picture(2))]
    first, second, third = group_photos(photos, Grouping()).groups
    assert first == second != third
    assert len(set(group_photos(photos, Grouping(look_alikes=None)).groups)) == 3


def test_a_table_of_groups_takes_precedence_over_names() -> None:
    photos = [hashed("IMG_1", 1 << 60), hashed("IMG_2", 0xFFFF), hashed("x", 0xFF00FF00FF)]
    named = {"IMG_1": "anna", "IMG_2": "ben", "x": "anna"}
    groups = group_photos(photos, Grouping(named=named, look_alikes=None)).groups
    assert groups[0] == groups[2] != groups[1]


def series(count: int, step_bits: int, seed: int = 0) -> list[Photo]:
    """Photos IMG_0000, IMG_0001, … in which each differs from the one before in about `step_bits` bits."""
    random, value, photos = Random(seed), Random(seed).getrandbits(64), []
    for number in range(count):
        photos.append(hashed(f"IMG_{number:04}", value))
        value ^= sum({1 << random.randrange(64) for _ in range(step_bits)})
    return photos


def test_a_numbered_series_is_a_session_only_if_its_neighbours_look_alike() -> None:
    grouping = Grouping(look_alikes=None)
    assert len(set(group_photos(series(200, step_bits=10), grouping).groups)) == 1
    assert len(set(group_photos(series(200, step_bits=64), grouping).groups)) == 200


def with_gaps(*gaps: int) -> list[Photo]:
    """A session with a difference of `gaps` between the numbers of its photos. No two look alike."""
    return [hashed(f"IMG_{number}", Random(number).getrandbits(64)) for number in accumulate(gaps, initial=100)]


def pieces(photos: list[Photo], classes: list[set[int]]) -> list[list[int]]:
    groups = group_photos(photos, Grouping(look_alikes=None), classes, splits=3)
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
    photos = [*with_gaps(1, 15, 1), hashed("egg", 1), hashed("milk", 2)]
    groups = group_photos(photos, Grouping(look_alikes=None), [{0}] * 6, splits=3)
    assert groups.groups == groups.sessions
    assert len(set(groups.groups)) == 3


def test_photos_that_look_alike_are_not_separated_by_a_cut() -> None:
    seeds = {"IMG_1": 1, "IMG_2": 2, "IMG_12": 1, "IMG_22": 3}
    photos = [Photo(name, picture(seed)) for name, seed in seeds.items()]
    groups = group_photos(photos, Grouping(), [{0}] * 4, splits=3).groups
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_capture_times_make_sessions_across_names() -> None:
    def taken(name: str, minutes: float, camera: str = "phone") -> Photo:
        return hashed(name, Random(name).getrandbits(64), Capture(camera, 60 * minutes))

    photos = [taken("a", 0), taken("b", 20), taken("c", 90), taken("d", 91), taken("e", 91, "other")]
    groups = group_photos(photos, Grouping(look_alikes=None)).groups
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
    assert signature_of(bitmap) is not None
    assert signature_of(bitmap[:18] + struct.pack("<ii", *size) + bitmap[26:]) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist: give a CSV with the columns name,group"),
        (b"photo;person\na;mia\n", "needs a first row with the column names: name,group"),
        (b"\xff\xd8\xff\xe0", "is no text: give a CSV with the columns name,group"),
    ],
)
def test_a_table_of_groups_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "groups.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=problem):
        read_groups(path)


def test_a_table_of_groups_may_begin_with_the_mark_that_spreadsheets_write(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffname,group\na.jpg,mia\n", encoding="utf-8")
    assert read_groups(path) == {"a": "mia"}
    assert read_groups_if_any(tmp_path / "subjects.csv") == {}
