"""Script `python -m benchmarks.look_alike_rule`: chooses the limits of the rule for look-alikes, and measures it.

It prints three tables:

recall        how many changed copies of real photos look like their originals, for several limits of candidates
false pairs   how many pairs of unrelated pictures look alike. The limit is chosen on one half of the originals, and the
              figures are of the other half. Pictures are crops of real photos and generated scenes. Two pictures are
              unrelated if their originals are in different folders.
simulation    samples of many people with second shots and copies, in the order of their arrival: the largest cluster
              and the share of photos that the collector would quarantine
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from savo_collector.errors import RejectedError
from savo_collector.splits import choose_split
from savo_contracts.samples import Split
from savo_datasets.look_alikes import RULE, LookAlikeRule
from savo_datasets.signatures import Hashes, Signature, mirrored, signature_of_pixels
from savo_datasets.yolo_folder import photo_files
from savo_demo.drawing.scenes import SceneSettings, draw_scenes

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

PHOTOS = Path(os.environ.get("SAVO_TEST_PHOTOS", Path(__file__).parents[2] / "shared" / "data"))
SIDE = 512
"""Longer side of a photo here, pixels."""
SEED = 20261201
CANDIDATE_LIMITS = ((10, 12), (12, 14), (14, 16), (14, 20), (16, 20), (18, 22))
CORRELATIONS = (0.80, 0.83, 0.86, 0.89, 0.92, 0.95)

console = Console(width=150)


@dataclass(frozen=True)
class Original:
    """A real photo, grey. Photos of one folder may show the same things."""

    folder: str
    pixels: Pixels


@dataclass(frozen=True)
class Pictures:
    """Signatures of pictures, with the folder of each original."""

    signatures: list[Signature]
    folders: NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.look_alike_rule", description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help=f"folder of real photos (default: {PHOTOS})")
    parser.add_argument("--crops", type=int, default=90, help="crops of each photo (default: 90)")
    parser.add_argument("--scenes", type=int, default=4000, help="generated scenes (default: 4000)")
    parser.add_argument("--samples", type=int, default=100_000, help="samples of the simulation (default: 100000)")
    options = parser.parse_args()
    originals = read_originals(options.photos)
    console.print(recall_table(originals))
    halves = [originals[half::2] for half in range(2)]
    scenes = [draw(options.scenes // 2, first=half * (options.scenes // 2)) for half in range(2)]
    console.print(false_pairs_table(halves, scenes, options.crops))
    console.print(simulation_table(originals, options.samples))


def read_originals(folder: Path) -> list[Original]:
    """Every photo below the folder, at most SIDE pixels long."""
    originals = []
    for path in photo_files(folder):
        pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        scale = min(1.0, SIDE / max(pixels.shape))
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        originals.append(Original(str(path.parent), np.asarray(small, np.uint8)))
    if not originals:
        raise SystemExit(f"{folder} holds no photos: give a folder with --photos")
    return originals


# ── recall ──────────────────────────────────────────────────────────────────


def turned(pixels: Pixels, degrees: float, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Pixels:
    """Rotated, scaled and shifted by fractions of the sides. The border is reflected."""
    height, width = pixels.shape
    transform = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    transform[:, 2] += (shift[0] * width, shift[1] * height)
    moved = cv2.warpAffine(pixels, transform, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def lit(pixels: Pixels, factor: float) -> Pixels:
    return np.asarray(np.clip(pixels * factor, 0, 255), np.uint8)


def second_shot(pixels: Pixels, rng: Rng) -> Pixels:
    """By hand, a moment later: ±2°, ±4 % nearer, ±3 % to the side, ±10 % light, noise, JPEG."""
    moved = turned(pixels, rng.uniform(-2, 2), 1 + rng.uniform(-0.04, 0.04), tuple(rng.uniform(-0.03, 0.03, 2)))
    noisy = lit(moved, rng.uniform(0.9, 1.1)) + rng.normal(0, 4, pixels.shape)
    return compressed(np.asarray(np.clip(noisy, 0, 255), np.uint8), 80)


def compressed(pixels: Pixels, quality: int) -> Pixels:
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def cropped(pixels: Pixels, rng: Rng) -> Pixels:
    """Without 5 % at one side."""
    height, width = (round(0.05 * side) for side in pixels.shape)
    sides = (pixels[height:], pixels[:-height], pixels[:, width:], pixels[:, :-width])
    return sides[rng.integers(4)]


def cropped_around(pixels: Pixels, _rng: Rng) -> Pixels:
    """Without 5 % at every side."""
    height, width = (round(0.05 * side) for side in pixels.shape)
    return pixels[height:-height, width:-width]


CHANGES: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "second shot": second_shot,
    "crop of 5 % at one side": cropped,
    "crop of 5 % at every side": cropped_around,
    "rotated by 3°": lambda pixels, rng: turned(pixels, 3 * rng.choice([-1, 1])),
    "rotated by 3°, cropped to the photo": lambda pixels, rng: cropped_around(turned(pixels, 3), rng),
    "30 % more light": lambda pixels, _rng: lit(pixels, 1.3),
    "mirrored": lambda pixels, _rng: np.ascontiguousarray(pixels[:, ::-1]),
    "mirrored second shot": lambda pixels, rng: np.ascontiguousarray(second_shot(pixels, rng)[:, ::-1]),
    "40 % of the size, JPEG 60": lambda pixels, _rng: compressed(
        np.asarray(cv2.resize(pixels, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), np.uint8), 60
    ),
}


def recall_table(originals: Sequence[Original]) -> Table:
    """Share of changed copies that are found, for candidates alone and for the rule."""
    rng = np.random.default_rng(SEED)
    table = Table(title=f"recall on {len(originals)} photos, %: candidates by dHash and pHash bits, and the whole rule")
    table.add_column("change")
    for limits in CANDIDATE_LIMITS:
        table.add_column("≤ {}, ≤ {}".format(*limits), justify="right")
    table.add_column("rule", justify="right")
    signatures = [signature_of_pixels(original.pixels) for original in originals]
    for name, change in CHANGES.items():
        copies = [signature_of_pixels(change(original.pixels, rng)) for original in originals]
        pairs = list(zip(signatures, copies, strict=True))
        cells = [sum(_is_candidate(_with(limits), *pair) for pair in pairs) for limits in CANDIDATE_LIMITS]
        cells.append(sum(looks_alike(RULE, *pair) for pair in pairs))
        table.add_row(name, *(f"{100 * cell / len(pairs):.1f}" for cell in cells))
    return table


def _with(limits: tuple[int, int]) -> LookAlikeRule:
    return replace(RULE, dhash_bits=limits[0], phash_bits=limits[1])


def _is_candidate(rule: LookAlikeRule, one: Signature, other: Signature) -> bool:
    return any(len(rule.candidates(view, _hashes([one]))) for view in (other, *mirrored([other])))


def looks_alike(rule: LookAlikeRule, one: Signature, other: Signature) -> bool:
    """Whether the rule finds `other`, or its mirror image, to look like `one`."""
    views = (other, *mirrored([other]))
    return any(len(rule.candidates(view, _hashes([one]))) and rule.matches(view, [one]) for view in views)


def _hashes(signatures: Sequence[Signature]) -> Hashes:
    return Hashes(
        np.array([signature.dhash for signature in signatures], np.uint64),
        np.array([signature.phash for signature in signatures], np.uint64),
    )


# ── false pairs ─────────────────────────────────────────────────────────────


def draw(count: int, first: int) -> list[Signature]:
    """Signatures of generated scenes. Scenes are of 18 backdrops: unlike ones can have the same background."""
    scenes = draw_scenes(count, SEED, SceneSettings(width=320, height=240), first=first)
    photos = (cv2.imdecode(np.frombuffer(scene.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for scene in scenes)
    return [signature_of_pixels(np.asarray(photo, np.uint8)) for photo in photos]


def crop(pixels: Pixels, rng: Rng) -> Pixels:
    """A random part of 40 to 70 % of the sides."""
    height, width = (int(side * rng.uniform(0.4, 0.7)) for side in pixels.shape)
    top, left = (int(rng.integers(free + 1)) for free in (pixels.shape[0] - height, pixels.shape[1] - width))
    return pixels[top : top + height, left : left + width]


def pictures_of(originals: Sequence[Original], scenes: Sequence[Signature], crops: int) -> Pictures:
    rng = np.random.default_rng(SEED)
    numbers = {folder: number for number, folder in enumerate(sorted({each.folder for each in originals}))}
    signatures, folders = [], []
    for original in originals:
        signatures += [signature_of_pixels(crop(original.pixels, rng)) for _ in range(crops)]
        folders += [numbers[original.folder]] * crops
    own = range(len(numbers), len(numbers) + len(scenes))
    return Pictures([*signatures, *scenes], np.array([*folders, *own]))


@dataclass
class FalsePairs:
    """Unrelated pairs: number of all, of candidates, and by least correlation."""

    pairs: int
    candidates: int
    alike: dict[float, int]


def false_pairs(pictures: Pictures) -> FalsePairs:
    """Every pair of unrelated pictures, and its mirror image, compared without the bounds of time."""
    unbounded = replace(RULE, most_candidates=len(pictures.signatures), most_alignments=len(pictures.signatures))
    rules = {limit: replace(unbounded, min_correlation=limit) for limit in CORRELATIONS}
    result = FalsePairs(0, 0, dict.fromkeys(CORRELATIONS, 0))
    hashes = _hashes(pictures.signatures)
    other_views = mirrored(pictures.signatures)
    for index in track(range(len(pictures.signatures)), "false pairs", console=Console(stderr=True), transient=True):
        unrelated = np.flatnonzero(pictures.folders[:index] != pictures.folders[index])
        result.pairs += len(unrelated)
        for view in (pictures.signatures[index], other_views[index]):
            near = unrelated[unbounded.candidates(view, Hashes(*(values[unrelated] for values in hashes)))]
            result.candidates += len(near)
            likely = [pictures.signatures[other] for other in near]
            for limit, rule in rules.items():
                likely = [likely[match] for match in rule.matches(view, likely)]
                result.alike[limit] += len(likely)
    return result


def false_pairs_table(halves: Sequence[Sequence[Original]], scenes: Sequence[Sequence[Signature]], crops: int) -> Table:
    """Pairs of unrelated pictures by limit. The chosen limit is the lowest with at most 1 in 10⁸ on the first half."""
    chosen, measured = (
        false_pairs(pictures_of(half, drawn, crops)) for half, drawn in zip(halves, scenes, strict=True)
    )
    enough = [limit for limit in CORRELATIONS if chosen.alike[limit] <= chosen.pairs / 1e8]
    caption = f"candidates: {chosen.candidates:,} and {measured.candidates:,}; RULE has {RULE.min_correlation}"
    table = Table(title="unrelated pairs that look alike, by least correlation", caption=caption)
    for heading in ("least correlation", f"of {chosen.pairs:,} (first half)", f"of {measured.pairs:,} (second half)"):
        table.add_column(heading, justify="right")
    for limit in CORRELATIONS:
        mark = " chosen" if enough and limit == enough[0] else ""
        table.add_row(f"{limit}{mark}", str(chosen.alike[limit]), str(measured.alike[limit]))
    return table


# ── simulation ──────────────────────────────────────────────────────────────

PHOTOS_A_PERSON = 5
SECOND_SHOTS = 0.3
"""Share of photos that are second shots of the person's photo before."""
COPIES = 0.005
"""Share of photos that are copies of a photo of another person."""
TILE = 48


@dataclass
class Simulated:
    """Result of a simulation."""

    samples: int = 0
    quarantined: int = 0
    by_false_pair: int = 0
    """Quarantined photos that look like an unrelated one."""
    found: int = 0
    """Second shots and copies that were found."""
    related: int = 0
    largest: int = 0
    """Photos in the largest set connected by look-alikes."""


class Collages:
    """Pictures of four crops: natural, and each different from the others."""

    def __init__(self, originals: Sequence[Original], rng: Rng) -> None:
        tiles = (crop(original.pixels, rng) for original in originals for _ in range(20))
        self._tiles = [np.asarray(cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA)) for tile in tiles]
        self._rng = rng

    def draw(self) -> Pixels:
        one, two, three, four = (self._tiles[number] for number in self._rng.integers(0, len(self._tiles), 4))
        return np.asarray(np.vstack([np.hstack([one, two]), np.hstack([three, four])]), np.uint8)


def simulation_table(originals: Sequence[Original], samples: int) -> Table:
    table = Table(title=f"simulated collection: {PHOTOS_A_PERSON} photos a person, {SECOND_SHOTS:.0%} second shots")
    for heading in ("photos", "quarantined", "of them by a false pair", "second shots and copies found", "largest set"):
        table.add_column(heading, justify="right")
    for count in sorted({samples // 10, samples}):
        result = simulate(originals, count)
        share, false = (f"{100 * number / count:.2f} %" for number in (result.quarantined, result.by_false_pair))
        found = f"{100 * result.found / max(1, result.related):.1f} %"
        table.add_row(f"{count:,}", share, false, found, str(result.largest))
    return table


def simulate(originals: Sequence[Original], count: int) -> Simulated:
    """The collector's decisions for `count` photos, in the order of their arrival."""
    rng = np.random.default_rng(SEED)
    collages, result = Collages(originals, rng), Simulated()
    people = count // PHOTOS_A_PERSON
    last: dict[int, tuple[int, Pixels]] = {}
    own_splits: dict[int, Split] = {}
    stored: list[Signature] = []
    splits: list[Split] = []
    scene_of: list[int] = []
    sets: list[int] = []
    dhashes, phashes = np.empty(count, np.uint64), np.empty(count, np.uint64)
    for number in track(range(count), "simulation", console=Console(stderr=True), transient=True):
        person = int(rng.integers(people))
        chance, scene, pixels = rng.random(), number, collages.draw()
        source = person if chance < SECOND_SHOTS else int(rng.integers(people))
        is_related = chance < SECOND_SHOTS + COPIES and source in last
        if is_related:
            scene, pixels = last[source][0], second_shot(last[source][1], rng)
        last[person] = (scene, pixels)
        photo = signature_of_pixels(pixels)
        length = len(stored)
        alike = find(photo, stored, Hashes(dhashes[:length], phashes[:length]), splits)
        result.related += is_related
        result.found += is_related and any(scene_of[other] == scene for other in alike)
        try:
            own = [own_splits[person]] if person in own_splits else []
            split = choose_split(str(person), [*own, *(splits[other] for other in alike)], train_only=False)
        except RejectedError:
            result.quarantined += 1
            result.by_false_pair += any(scene_of[other] != scene for other in alike)
            continue
        own_splits.setdefault(person, split)
        joined = {sets[other] for other in alike}
        label = min(joined, default=length)
        sets = [label if each in joined else each for each in sets] if len(joined) > 1 else sets
        dhashes[length], phashes[length] = photo.dhash, photo.phash
        stored.append(photo)
        splits.append(split)
        scene_of.append(scene)
        sets.append(label)
    result.samples = len(stored)
    result.largest = int(np.bincount(sets).max())
    return result


def find(photo: Signature, stored: Sequence[Signature], hashes: Hashes, splits: Sequence[Split]) -> set[int]:
    """Look-alikes of a photo, as the collector finds them: at most one of each split."""
    found: set[int] = set()
    for view in (photo, *mirrored([photo])):
        near = RULE.candidates(view, hashes).tolist()
        matches = RULE.matches(view, [stored[index] for index in near], [splits[index] for index in near])
        found.update(near[match] for match in matches)
    return found


if __name__ == "__main__":
    main()
