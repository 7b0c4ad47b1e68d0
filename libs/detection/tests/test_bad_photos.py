"""Invalid and oversized photos: each is refused with a message before memory is allocated for its pixels."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from libs.detection.tests.conftest import quarters
from libs.detection.tests.mutations import Edit, edits, mutated
from savo_detection.errors import PhotoError, UnreadablePhotoError, UnsupportedPhotoError
from savo_detection.photos.containers.part_limit import MAX_PARTS
from savo_detection.photos.decoding import MAX_PIXELS, decode, probe
from savo_detection.photos.headers import MAX_SCANS, read_header

pillow_heif.register_heif_opener()

Draw = Callable[..., bytes]

PNG = b"\x89PNG\r\n\x1a\n"
END = b"\xff\xd9"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_size(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def png_pixels(width: int, height: int) -> bytes:
    """All black: 100 megapixels in a megabyte."""
    packer, row = zlib.compressobj(1), bytes(1 + 3 * width)
    return chunk(b"IDAT", b"".join(packer.compress(row) for _ in range(height)) + packer.flush())


def png(width: int, height: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    return PNG + before + png_size(width, height) + after + png_pixels(width, height) + chunk(b"IEND", b"")


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def jpeg(picture: Image.Image, **save: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **save)
    return buffer.getvalue()


def jpeg_declaring(width: int, height: int) -> bytes:
    data = bytearray(jpeg(quarters(64, 48)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def heic(width: int, height: int, **save: Any) -> bytearray:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (width, height), (90, 60, 30))).save(buffer, quality=1, **save)
    return bytearray(buffer.getvalue())


def heic_declaring(width: int, height: int, data: bytearray) -> bytes:
    """The HEIC with another size in its first size box, that of the displayed picture."""
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    return bytes(data)


def heic_cropped_from_a_large_picture() -> bytes:
    """A HEIC that displays 64 × 48 pixels of 2561 × 2561."""
    data = heic(2561, 2561)
    at = data.index(b"clap") + 4
    data[at : at + 16] = struct.pack(">4I", 64, 1, 48, 1)
    return bytes(data)


MEASURE = """
import json, pathlib, resource, sys
import cv2, pillow_heif
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from savo_detection import PhotoError, decode

def peak_memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

results = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data, before = path.read_bytes(), peak_memory()
    try:
        message = f"accepted, {decode(data, max_pixels=int(sys.argv[2])).shape}"
    except PhotoError as error:
        message = str(error)
    results[path.name] = [message, peak_memory() - before]
print(json.dumps(results))
"""


def refusals(folder: Path, files: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Message of a new process for each file. The process's memory must not grow."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, folder, str(max_pixels)],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    results: dict[str, tuple[str, int]] = json.loads(done.stdout)
    # The smallest file takes 24 MB when it is decoded.
    assert max(kilobytes for _message, kilobytes in results.values()) < 12_000, results
    return {name: message for name, (message, _kilobytes) in results.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_decompression_bombs_are_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    few_pixels = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    files = {
        "png-100": png(10_000, 10_000),
        "png-196": png(14_000, 14_000),
        "png-giant": PNG + png_size(2**31 - 1, 2**31 - 1) + few_pixels,
        "png-small-then-large": png(7_500, 7_500, before=png_size(10, 10)),
        "png-large-behind-another": png(7_500, 7_500, before=chunk(b"teXt", struct.pack(">II", 10, 10))),
        "webp-large": webp(webp_canvas(16_383, 16_383), (b"VP8L", b"\x2f" + struct.pack("<I", 16_382 | 16_382 << 14))),
        "webp-animated": webp(webp_canvas(16_383, 16_383, 2), (b"ANIM", bytes(6)), (b"ANMF", bytes(24))),
        "jpeg-65535": jpeg_declaring(65_535, 65_535),
        "heic-65535": heic_declaring(65_535, 65_535, heic(64, 64)),
    }
    several_headers = "the photo cannot be read: its first chunk, and no other, must be the header with its size (IHDR)"
    assert refusals(tmp_path, files) == {
        "png-100": "the photo has 10000 × 10000 = 100.0 megapixels; the limit is 50",
        "png-196": "the photo has 14000 × 14000 = 196.0 megapixels; the limit is 50",
        "png-giant": "the photo has 2147483647 × 2147483647 = 4611686014132.4 megapixels; the limit is 50",
        "png-small-then-large": several_headers,
        "png-large-behind-another": several_headers,
        "webp-large": "the photo has 16383 × 16383 = 268.4 megapixels; the limit is 50",
        "webp-animated": "the photo has 16383 × 16383 = 268.4 megapixels; the limit is 50",
        "jpeg-65535": "the photo has 65535 × 65535 = 4294.8 megapixels; the limit is 50",
        "heic-65535": "the photo has 65535 × 65535 = 4294.8 megapixels; the limit is 50",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_a_small_heic_with_large_pictures_inside_is_refused_before_memory_is_allocated(tmp_path: Path) -> None:
    files = {
        "cut-out": heic_cropped_from_a_large_picture(),
        "tiles": heic_declaring(64, 64, heic(2_560, 2_560, tile_size=1_280)),
    }
    assert probe(files["cut-out"]).width == 64
    assert refusals(tmp_path, files, max_pixels=5_000_000) == {
        "cut-out": "the photo has 2562 × 2562 = 6.6 megapixels; the limit is 5",
        "tiles": "the photo has 2560 × 2560 = 6.6 megapixels; the limit is 5",
    }


def test_a_heic_with_a_generic_heif_brand_is_a_photo() -> None:
    data = heic(64, 64)
    for brand in (b"mif1", b"msf1"):
        data[8:12] = brand
        assert decode(bytes(data)).shape == (64, 64, 3)


def test_a_tiled_and_a_cropped_heic_within_the_limit_are_photos() -> None:
    assert decode(bytes(heic(300, 200, tile_size=128))).shape == (200, 300, 3)
    assert decode(bytes(heic(65, 47))).shape == (47, 65, 3)


@pytest.mark.parametrize(
    "data",
    [
        PNG + png_size(8, 8) + chunk(b"teXt", b"") * MAX_PARTS + chunk(b"IEND", b""),
        webp(webp_canvas(8, 8), *[(b"junk", b"")] * MAX_PARTS),
        b"\xff\xd8" + b"\xff\xfe\0\x02" * (MAX_PARTS + 1),
        bytes(heic(64, 64)) + struct.pack(">I4s", 8, b"free") * MAX_PARTS,
    ],
    ids=["PNG", "WebP", "JPEG", "HEIC"],
)
def test_a_file_with_too_many_parts_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadablePhotoError, match="it is made of more than 100,000 parts"):
        probe(data)


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    data = jpeg(quarters(64, 48), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data[:-2] + last * 20 + END).shape == (48, 64, 3)
    with pytest.raises(UnreadablePhotoError, match=rf"its JPEG is stored in 10\d\d passes \(limit {MAX_SCANS}\)"):
        probe(data[:-2] + last * 1000 + END)


def test_scan_markers_after_the_end_of_the_photo_do_not_count() -> None:
    video = b"\xff\xda\0\x02" * 1000
    for data in (jpeg(quarters(64, 48)), jpeg(quarters(64, 48), progressive=True)):
        assert decode(data + video).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("fmt", "length", "message"),
    [
        ("JPEG", 0, "it is empty"),
        ("JPEG", 12, "it is cut short"),
        ("JPEG", -2, r"it is cut short \(no end marker\)"),
        ("PNG", 30, "it is cut short"),
        ("PNG", -9, "it is cut short"),
        ("WEBP", 30, "it is cut short"),
        ("WEBP", -1, "it is cut short"),
        ("HEIF", 40, "its HEIC container is damaged or cut short"),
        ("HEIF", -8, "its HEIC data is damaged or cut short|its HEIC container is damaged or cut short"),
    ],
)
def test_a_truncated_photo_is_refused_with_the_reason(photo: Draw, fmt: str, length: int, message: str) -> None:
    with pytest.raises(UnreadablePhotoError, match=f"^the photo cannot be read: ({message})$"):
        decode(photo(fmt=fmt)[:length])


def test_a_size_of_zero_is_refused() -> None:
    for data in (jpeg_declaring(0, 48), PNG + png_size(0, 5) + chunk(b"IEND", b"")):
        with pytest.raises(UnreadablePhotoError, match="its header gives no size"):
            probe(data)


@pytest.mark.parametrize(
    "data",
    [
        b"These are eggs and milk. Saved as fridge.jpg.",
        b"<!doctype html><script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n" + jpeg(quarters(64, 48)),
        b"GIF89a" + bytes(40),
        b"BM" + bytes(60),
        b"\0\0\0\x1cftypavif" + bytes(40),
        b"\0\0\0\x20ftypmif1\0\0\0\0avifmif1miafMA1B" + bytes(40),
        b"\0\0\0\x1cftypmsf1\0\0\0\0msf1avismiaf" + bytes(40),
        b"\0" * 1000,
        b" " + jpeg(quarters(64, 48)),
    ],
    ids=[
        "text",
        "HTML",
        "SVG",
        "PDF",
        "GIF",
        "BMP",
        "AVIF",
        "AVIF by HEIF's brand",
        "AVIF sequence",
        "zeros",
        "JPEG after a blank",
    ],
)
def test_the_error_for_another_file_type_lists_the_supported_types(data: bytes) -> None:
    for read in (probe, decode):
        with pytest.raises(UnsupportedPhotoError, match=r"^this is no JPEG, PNG, WebP or HEIC photo$"):
            read(data)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("run.sh", "rm -rf /")
    return buffer.getvalue()


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_a_photo_followed_by_a_zip_archive_is_decoded_as_a_photo(photo: Draw, fmt: str) -> None:
    plain = photo(fmt=fmt)
    assert zipfile.is_zipfile(io.BytesIO(plain + archive()))
    assert (decode(plain + archive()) == decode(plain)).all()


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff", PNG, b"RIFF\x10\0\0\0WEBP", b"\0\0\0\x18ftypheic"], ids=["JPEG", "PNG", "WebP", "HEIC"]
)
def test_other_data_after_the_first_bytes_of_a_photo_is_refused(start: bytes) -> None:
    for rest in (b"<script>alert(1)</script>" * 10, archive(), bytes(200), b"\xff" * 200):
        with pytest.raises(UnreadablePhotoError, match="the photo cannot be read: it"):
            decode(start + rest)


@pytest.mark.parametrize("fmt", ["WEBP", "PNG"])
def test_the_first_picture_of_an_animation_is_decoded(fmt: str) -> None:
    buffer = io.BytesIO()
    later = [Image.new("RGB", (64, 48), colour) for colour in ("black", "grey")]
    quarters(64, 48).save(buffer, fmt, save_all=True, append_images=later, lossless=True)
    assert getattr(Image.open(buffer), "n_frames", 1) == 3
    assert (decode(buffer.getvalue()) == np.asarray(quarters(64, 48))).all()


def drawn(fmt: str, mode: str = "RGB", **save: Any) -> bytes:
    buffer = io.BytesIO()
    quarters(32, 24).convert(mode).save(buffer, fmt, **save)
    return buffer.getvalue()


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


SEEDS = [
    drawn("JPEG"),
    drawn("JPEG", exif=rotated_exif(), progressive=True),
    drawn("JPEG", "CMYK"),
    drawn("PNG"),
    drawn("PNG", "P", transparency=0),
    drawn("PNG", "RGBA", exif=rotated_exif()),
    drawn("WEBP"),
    drawn("WEBP", "RGBA", exif=rotated_exif()),
    drawn("WEBP", save_all=True, append_images=[Image.new("RGB", (32, 24))]),
    drawn("HEIF"),
    bytes(heic(128, 128, tile_size=64)),
    bytes(heic(65, 47)),
]


@given(st.sampled_from(SEEDS), edits, st.none() | st.integers(8, 64))
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_photo_is_decoded_or_refused(data: bytes, changes: list[Edit], target_side: int | None) -> None:
    photo = mutated(data, changes)
    with suppress(PhotoError):
        header = read_header(photo)
        pixels = decode(photo, target_side=target_side, max_pixels=1_000_000)
        assert (pixels.ndim, pixels.shape[2], pixels.dtype.name) == (3, 3, "uint8")
        assert header.width * header.height <= 1_000_000
