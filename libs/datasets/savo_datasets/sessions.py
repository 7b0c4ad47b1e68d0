"""Shooting sessions: photos that one camera took one after another, by capture time (EXIF) or by number in the name.

An order is a session only if its neighbours look more alike than photos at random: names that a tool has numbered
(`img_000000`, `img_000001`, …) are no session. Orders with few photos are sessions without that evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from savo_datasets.signatures import Signature

__all__ = ["Capture", "Photo", "SessionLink", "read_capture", "session_groups", "session_links"]

NO_SESSION = 0
SESSION_SECONDS = 30 * 60
"""Largest pause between two photos of one session, by capture time."""

_UNCUT_NUMBERS = 2
"""Largest gap of numbers at which a session is never cut: one photo was deleted between two similar ones."""
_UNCUT_SECONDS = 120
"""Largest pause at which a session is never cut."""
_MIN_EVIDENCE = 8
"""Fewest neighbours in an order for a comparison with random pairs."""
_RANDOM_PAIRS = 4000
_NEAR_SHARE = 0.1
"""A pair is near if it differs less than this share of random pairs."""

_EXPORTED = re.compile(r"(_(jpe?g|png|webp|heic))?\.rf\.[0-9a-zA-Z]+$", re.IGNORECASE)
_COUNTED = re.compile(r"^(?P<prefix>.*?)[_\- (]*(?P<number>\d{1,9})\)?$")
_HASHES = re.compile(r"^[0-9a-f]{32,}$")
_EXIF_IFD, _TIME_ORIGINAL, _MAKE, _MODEL = 0x8769, 0x9003, 0x010F, 0x0110


class Capture(NamedTuple):
    """When and with which camera a photo was taken."""

    camera: str
    seconds: float


@dataclass(frozen=True)
class Photo:
    """A photo's attributes for grouping."""

    name: str
    """File name without suffix."""
    signature: Signature
    capture: Capture | None = None


class SessionLink(NamedTuple):
    """Two photos that follow each other in a session."""

    first: int
    second: int
    width: float
    """Gap between them as a fraction of the session's largest gap; 0 where a session is never cut."""


class _Position(NamedTuple):
    value: float
    photo: int


def session_links(photos: Sequence[Photo], indices: Sequence[int], gap: int) -> list[SessionLink]:
    """Links between the neighbours of each session among the photos at `indices`. `gap`: see `Grouping.session_gap`."""
    if gap == NO_SESSION:
        return []
    near = _near_distance([photos[index].signature.dhash for index in indices])
    by_time: dict[str, list[_Position]] = {}
    by_number: dict[str, list[_Position]] = {}
    for index in indices:
        photo = photos[index]
        if photo.capture is not None:
            by_time.setdefault(photo.capture.camera, []).append(_Position(photo.capture.seconds, index))
            continue
        prefix, number = _prefix_and_number(photo.name) or (photo.name, 0)
        by_number.setdefault(prefix, []).append(_Position(number, index))
    links = _links(photos, by_time.values(), SESSION_SECONDS, _UNCUT_SECONDS, near)
    return links + _links(photos, by_number.values(), gap, _UNCUT_NUMBERS, near)


def session_groups(names: Sequence[str], gap: int) -> list[str]:
    """The shooting session of each photo, by file name alone. `gap`: see `Grouping.session_gap`."""
    if gap == NO_SESSION:
        return list(names)
    counted = [_prefix_and_number(name) for name in names]
    numbers: dict[str, set[int]] = {}
    for prefix, number in filter(None, counted):
        numbers.setdefault(prefix, set()).add(number)
    starts = {(prefix, number): start for prefix, found in numbers.items() for number, start in _starts(found, gap)}
    return [_session_name(name, position, starts) for name, position in zip(names, counted, strict=True)]


def _session_name(name: str, position: tuple[str, int] | None, starts: Mapping[tuple[str, int], int]) -> str:
    return name if position is None else f"{position[0]}#{starts[position]}"


def read_capture(photo: bytes) -> Capture | None:
    """Capture time and camera from a photo's EXIF; None where it has no valid time."""
    try:
        with Image.open(BytesIO(photo)) as image:
            exif = image.getexif()
            taken = str(exif.get_ifd(_EXIF_IFD).get(_TIME_ORIGINAL, ""))
            # The camera's clock has no time zone. Only differences count, so any zone does.
            time = datetime.strptime(taken.strip("\0 "), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except Exception:  # noqa: BLE001 a photo without readable EXIF is grouped by its name
        return None
    return Capture(f"{exif.get(_MAKE, '')} {exif.get(_MODEL, '')}".strip(), time.timestamp())


def _links(
    photos: Sequence[Photo], orders: Iterable[list[_Position]], gap: float, uncut: float, near: float
) -> list[SessionLink]:
    """Links within each order. `gap` and `uncut`: largest gap of a session, and largest gap that is never cut."""
    links: list[SessionLink] = []
    for order in orders:
        pairs = [pair for pair in pairwise(sorted(order)) if pair[1].value - pair[0].value <= gap]
        is_session = _neighbours_look_alike(photos, pairs, near)
        for one, other in pairs:
            width = other.value - one.value
            if is_session or width == 0:
                links.append(SessionLink(one.photo, other.photo, 0.0 if width <= uncut else width / gap))
    return links


def _neighbours_look_alike(photos: Sequence[Photo], pairs: Sequence[tuple[_Position, _Position]], near: float) -> bool:
    """Whether more neighbours are near than at random, by more than two standard deviations."""
    distances = [
        (photos[one.photo].signature.dhash ^ photos[other.photo].signature.dhash).bit_count()
        for one, other in pairs
        if other.value > one.value
    ]
    if len(distances) < _MIN_EVIDENCE:
        return True
    share = sum(distance < near for distance in distances) / len(distances)
    deviation = (_NEAR_SHARE * (1 - _NEAR_SHARE) / len(distances)) ** 0.5
    return bool(share > _NEAR_SHARE + 2 * deviation)


def _near_distance(hashes: Sequence[int]) -> float:
    """Distance in bits below which a share of at most `_NEAR_SHARE` of random pairs lies."""
    if len(hashes) < 2:
        return 0.0
    values = np.asarray(hashes, np.uint64)
    one, other = np.random.default_rng(0).integers(0, len(values), (2, _RANDOM_PAIRS))
    distances: NDArray[np.uint8] = np.bitwise_count(values[one] ^ values[other])[one != other]
    return float(np.quantile(distances, _NEAR_SHARE, method="lower")) if len(distances) else 0.0


def _prefix_and_number(name: str) -> tuple[str, int] | None:
    bare = _EXPORTED.sub("", name)
    if _HASHES.match(bare):
        return None
    found = _COUNTED.match(bare)
    return (found["prefix"], int(found["number"])) if found else (bare, 0)


def _starts(numbers: Iterable[int], gap: int) -> Iterator[tuple[int, int]]:
    """Each number with the first number of its session."""
    start = previous = None
    for number in sorted(numbers):
        if start is None or previous is None or number - previous > gap:
            start = number
        previous = number
        yield number, start
