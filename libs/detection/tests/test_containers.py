"""Containers walked part by part: every byte has its place, and a strict walk allows what the format allows."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from libs.detection.tests.conftest import quarters
from libs.detection.tests.mutations import Edit, edits, mutated
from savo_detection.errors import MalformedPhotoError, PhotoError, TruncatedPhotoError
from savo_detection.photos.containers import heic, jpeg, png, webp

pillow_heif.register_heif_opener()


def drawn(fmt: str, **save: Any) -> bytes:
    buffer = io.BytesIO()
    quarters(64, 48).save(buffer, fmt, **save)
    return buffer.getvalue()


JPEG, PROGRESSIVE, PNG, WEBP, HEIC = (
    drawn("JPEG", comment=b"eggs"),
    drawn("JPEG", progressive=True),
    drawn("PNG"),
    drawn("WEBP", exif=Image.Exif().tobytes(), lossless=True),
    drawn("HEIF"),
)


def walk(data: bytes, *, strict: bool) -> Iterator[tuple[Any, ...]]:
    if data[:2] == b"\xff\xd8":
        return jpeg.segments(data, strict=strict)
    if data[:4] == b"RIFF":
        return webp.chunks(data, strict=strict)
    if data.startswith(png.SIGNATURE):
        return png.chunks(data, strict=strict)
    return heic.boxes(data, 0, len(data), strict=strict)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_jpeg_segments_and_the_pixels_between_them_are_the_whole_file(data: bytes) -> None:
    segments = list(jpeg.segments(data, strict=True))
    between = {marker for (marker, _start, _content, end), (_, start, *_) in pairwise(segments) if end != start}
    assert between == {jpeg.SCAN}
    assert segments[0][1] == 2
    assert segments[-1][::3] == (jpeg.END, len(data))


def test_png_and_webp_chunks_and_heic_boxes_follow_each_other_to_the_end() -> None:
    starts_and_ends = [(start, end) for _kind, start, _content, end in png.chunks(PNG, strict=True)]
    assert [start for start, _end in starts_and_ends] == [8, *(end for _start, end in starts_and_ends[:-1])]
    assert starts_and_ends[-1][1] == len(PNG)
    chunks = list(webp.chunks(WEBP, strict=True))
    assert all(content - end - 8 in (0, 1) for (_, _, end), (_, content, _) in pairwise(chunks))
    boxes = list(heic.boxes(HEIC, 0, len(HEIC), strict=True))
    assert [kind for kind, *_ in boxes][:2] == [b"ftyp", b"meta"]
    assert boxes[-1][2] == len(HEIC)


def test_encoded_parts_are_read_as_they_were_written() -> None:
    data = b"\xff\xd8" + jpeg.encode_segment(jpeg.COMMENT, b"eggs") + b"\xff\xd9"
    (marker, _start, content, end), _end_marker = jpeg.segments(data, strict=True)
    assert (marker, data[content:end]) == (jpeg.COMMENT, b"eggs")
    data = png.SIGNATURE + png.encode_chunk(b"teXt", b"eggs") + png.encode_chunk(b"IEND", b"")
    (kind, _start, content, end), _last = png.chunks(data, strict=True)
    assert (kind, data[content : end - png.CHECKSUM_LENGTH]) == (b"teXt", b"eggs")
    data = webp.encode_file([webp.encode_chunk(b"VP8L", b"egg"), webp.encode_chunk(b"XMP ", b"milk")])
    assert [(kind, data[content:end]) for kind, content, end in webp.chunks(data, strict=True)] == [
        (b"VP8L", b"egg"),
        (b"XMP ", b"milk"),
    ]


@pytest.mark.parametrize(
    "data", [JPEG, PROGRESSIVE, PNG, WEBP, HEIC], ids=["JPEG", "progressive", "PNG", "WebP", "HEIC"]
)
def test_a_strict_walk_of_a_file_cut_anywhere_ends_as_truncated(data: bytes) -> None:
    whole = list(walk(data, strict=True))
    for length in range(16, len(data)):
        parts = walk(data[:length], strict=True)
        if data is HEIC and any(end == length for _kind, _content, end in whole):
            # A file of boxes says nowhere how many they are.
            assert list(parts) == [part for part in whole if part[2] <= length]
            continue
        with pytest.raises(TruncatedPhotoError):
            list(parts)


def between_segments(data: bytes) -> bytes:
    return data[:2] + b"junk" + data[2:]


def chunk_of_no_kind(data: bytes) -> bytes:
    return data[:8] + png.encode_chunk(b"\0\0\0\0", b"") + data[8:]


def chunk_past_the_end(data: bytes) -> bytes:
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + b"XMP \xff\0\0\0"


def box_of_no_kind(data: bytes) -> bytes:
    return data + struct.pack(">I4s", 8, b"eggs")


@pytest.mark.parametrize(
    ("data", "damage", "error"),
    [
        (JPEG, between_segments, MalformedPhotoError),
        (PNG, chunk_of_no_kind, MalformedPhotoError),
        (WEBP, chunk_past_the_end, TruncatedPhotoError),
        (HEIC, box_of_no_kind, MalformedPhotoError),
    ],
    ids=["JPEG", "PNG", "WebP", "HEIC"],
)
def test_what_decoders_pass_over_ends_a_strict_walk_alone(
    data: bytes, damage: Callable[[bytes], bytes], error: type[PhotoError]
) -> None:
    damaged = damage(data)
    assert len(list(walk(damaged, strict=False))) >= len(list(walk(data, strict=False)))
    with pytest.raises(error):
        list(walk(damaged, strict=True))


def test_compressed_pixels_are_not_read_before_the_next_segment_is_asked_for() -> None:
    until_scan = JPEG[: JPEG.index(b"\xff\xda") + 14]
    for strict in (True, False):
        segments = jpeg.segments(until_scan, strict=strict)
        assert next(segment for segment in segments if segment[0] == jpeg.SCAN)
        with pytest.raises(TruncatedPhotoError):
            next(segments)


def test_a_long_run_of_fill_bytes_is_passed_over_at_once() -> None:
    filled = JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:]
    for strict in (True, False):
        assert len(list(jpeg.segments(filled, strict=strict))) == len(list(jpeg.segments(JPEG, strict=strict)))
    with pytest.raises(TruncatedPhotoError):
        list(jpeg.segments(b"\xff\xd8" + b"\xff" * 1_000_000, strict=True))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([JPEG, PROGRESSIVE, PNG, WEBP, HEIC]), edits, st.booleans())
def test_a_walk_goes_forward_and_ends_whatever_the_bytes(data: bytes, changes: list[Edit], strict: bool) -> None:
    damaged = mutated(data, changes)
    position = 0
    with suppress(TruncatedPhotoError, MalformedPhotoError):
        for part in walk(damaged, strict=strict):
            start, end = part[1], part[-1]
            assert start >= position
            assert not strict or end <= len(damaged)
            position = start
