"""Parsers of photo containers: offsets of the parts, strict and tolerant parsing."""

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


JPEG = drawn("JPEG", comment=b"eggs")
PROGRESSIVE = drawn("JPEG", progressive=True)
PNG = drawn("PNG")
WEBP = drawn("WEBP", exif=Image.Exif().tobytes(), lossless=True)
HEIC = drawn("HEIF")


def parse(data: bytes, *, strict: bool) -> Iterator[tuple[Any, ...]]:
    if data[:2] == b"\xff\xd8":
        return jpeg.segments(data, strict=strict)
    if data[:4] == b"RIFF":
        return webp.chunks(data, strict=strict)
    if data.startswith(png.SIGNATURE):
        return png.chunks(data, strict=strict)
    return heic.boxes(data, 0, len(data), strict=strict)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_jpeg_segments_and_the_pixels_between_them_cover_the_file(data: bytes) -> None:
    segments = list(jpeg.segments(data, strict=True))
    between = {marker for (marker, _start, _content, end), (_, start, *_) in pairwise(segments) if end != start}
    assert between == {jpeg.SCAN}
    assert segments[0][1] == 2
    assert segments[-1][::3] == (jpeg.END, len(data))


def test_png_and_webp_chunks_and_heic_boxes_cover_the_file() -> None:
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
def test_a_strict_parser_detects_truncation_at_any_byte(data: bytes) -> None:
    complete = list(parse(data, strict=True))
    for length in range(16, len(data)):
        parts = parse(data[:length], strict=True)
        if data is HEIC and any(end == length for _kind, _content, end in complete):
            # A HEIC does not declare its number of boxes.
            assert list(parts) == [part for part in complete if part[2] <= length]
            continue
        with pytest.raises(TruncatedPhotoError):
            list(parts)


def with_bytes_between_segments(data: bytes) -> bytes:
    return data[:2] + b"junk" + data[2:]


def with_chunk_of_invalid_kind(data: bytes) -> bytes:
    return data[:8] + png.encode_chunk(b"\0\0\0\0", b"") + data[8:]


def with_chunk_past_the_end(data: bytes) -> bytes:
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + b"XMP \xff\0\0\0"


def with_box_of_unknown_kind(data: bytes) -> bytes:
    return data + struct.pack(">I4s", 8, b"eggs")


@pytest.mark.parametrize(
    ("data", "damage", "error"),
    [
        (JPEG, with_bytes_between_segments, MalformedPhotoError),
        (PNG, with_chunk_of_invalid_kind, MalformedPhotoError),
        (WEBP, with_chunk_past_the_end, TruncatedPhotoError),
        (HEIC, with_box_of_unknown_kind, MalformedPhotoError),
    ],
    ids=["JPEG", "PNG", "WebP", "HEIC"],
)
def test_damage_that_decoders_tolerate_is_only_an_error_for_a_strict_parser(
    data: bytes, damage: Callable[[bytes], bytes], error: type[PhotoError]
) -> None:
    damaged = damage(data)
    assert len(list(parse(damaged, strict=False))) >= len(list(parse(data, strict=False)))
    with pytest.raises(error):
        list(parse(damaged, strict=True))


def test_compressed_pixels_are_not_read_before_the_next_segment_is_requested() -> None:
    until_scan = JPEG[: JPEG.index(b"\xff\xda") + 14]
    for strict in (True, False):
        segments = jpeg.segments(until_scan, strict=strict)
        assert next(segment for segment in segments if segment[0] == jpeg.SCAN)
        with pytest.raises(TruncatedPhotoError):
            next(segments)


def test_a_long_run_of_fill_bytes_is_skipped_fast() -> None:
    filled = JPEG[:2] + b"\xff" * 1_000_000 + JPEG[2:]
    for strict in (True, False):
        assert len(list(jpeg.segments(filled, strict=strict))) == len(list(jpeg.segments(JPEG, strict=strict)))
    with pytest.raises(TruncatedPhotoError):
        list(jpeg.segments(b"\xff\xd8" + b"\xff" * 1_000_000, strict=True))


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([JPEG, PROGRESSIVE, PNG, WEBP, HEIC]), edits, st.booleans())
def test_a_parser_moves_forward_and_ends_for_any_bytes(data: bytes, changes: list[Edit], strict: bool) -> None:
    damaged = mutated(data, changes)
    position = 0
    with suppress(TruncatedPhotoError, MalformedPhotoError):
        for part in parse(damaged, strict=strict):
            start, end = part[1], part[-1]
            assert start >= position
            assert not strict or end <= len(damaged)
            position = start
