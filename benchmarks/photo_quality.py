"""Limits of photo quality: chosen on half of the real photos, judged on the other half, and what the check costs.

`python -m benchmarks.photo_quality DIR…` damages the photos of YOLO folders and plain folders in each way of `FAULTS`
and prints the tables of docs/measurements/photo-quality.md. Photos are divided by group (session, look-alikes), so that
no two shots of one table are on both sides.

`figures()` measures the time of the check beside the one that it replaced: mean, percentile and variance of the
Laplacian.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from benchmarks.measurement import Figure, paired_speedup, rounds, run_interleaved
from benchmarks.photo_to_boxes import photos as benchmark_photos
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import RejectionReason
from savo_datasets.groups import Grouping, group_photos
from savo_datasets.sessions import Photo, read_capture
from savo_datasets.signatures import signature_of
from savo_detection.photos.decoding import decode
from savo_detection.photos.quality import MEASURED_SIDE, Quality, QualityPolicy, measure, quality_problem

ROUNDS = rounds(40)
SEED = 29
TOWARDS_FAULTS = 2 / 3
"""Where a limit lies, from the worst good photo (0) to 98 % of the faults (1). Past the middle, because users' photos
vary more than these, and a good photo that is refused is a confirmation lost.
"""
BLACK_UP_TO = 5
WEAKER_STEP = 4
"""Weaker faults are measured on each photo of this many."""
_PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_YOLO_COLUMNS = 5

Pixels = Any
"""Height × width × 3, uint8. Faults give and take linear light as float32, 0…1, where their name says so."""


def blurred(pixels: Pixels, _rng: np.random.Generator, *, share: float) -> Pixels:
    """Out of focus: σ is a share of the longer side."""
    return cv2.GaussianBlur(pixels, (0, 0), share * max(pixels.shape[:2]))


def moved(pixels: Pixels, rng: np.random.Generator, *, share: float) -> Pixels:
    """Moved along a line in a random direction by a share of the longer side."""
    length = round(share * max(pixels.shape[:2])) | 1
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def exposed(pixels: Pixels, _rng: np.random.Generator, *, light: float) -> Pixels:
    """With a multiple of its linear light."""
    srgb = np.arange(256) / 255
    linear = light * np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.LUT(pixels, np.clip(np.round(255 * curve), 0, 255).astype(np.uint8))


def grainy(pixels: Pixels, rng: np.random.Generator, *, sigma: float) -> Pixels:
    """With white noise in each channel."""
    noise = rng.standard_normal(pixels.shape, np.float32) * sigma
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


def flat(pixels: Pixels, _rng: np.random.Generator, *, share: float) -> Pixels:
    """With a share of its contrast around its mean."""
    mean = pixels.mean()
    return np.round(mean + share * (pixels - mean)).astype(np.uint8)


def as_it_is(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return pixels


@dataclass(frozen=True)
class Fault:
    """A kind of damage, and the reason that must be named for it."""

    name: str
    steps: tuple[Callable[[Pixels, np.random.Generator], Pixels], ...]
    reason: RejectionReason


_GRAIN_8 = partial(grainy, sigma=8)
FAULTS = (
    Fault("Gauss σ 1/80", (partial(blurred, share=1 / 80),), RejectionReason.BLURRED),
    Fault("Gauss σ 1/80, noise σ 8", (partial(blurred, share=1 / 80), _GRAIN_8), RejectionReason.BLURRED),
    Fault("motion 1/10", (partial(moved, share=1 / 10),), RejectionReason.BLURRED),
    Fault("15 % linear light", (partial(exposed, light=0.15),), RejectionReason.DARK),
    Fault("+3 EV", (partial(exposed, light=8),), RejectionReason.OVER_EXPOSED),
    Fault("noise σ 100", (partial(grainy, sigma=100),), RejectionReason.NOISY),
    Fault("contrast 5 %", (partial(flat, share=0.05),), RejectionReason.LOW_CONTRAST),
)
WEAKER_FAULTS = (
    Fault("Gauss σ 1/160", (partial(blurred, share=1 / 160),), RejectionReason.BLURRED),
    Fault("motion 1/10, noise σ 8", (partial(moved, share=1 / 10), _GRAIN_8), RejectionReason.BLURRED),
    Fault("motion 1/20", (partial(moved, share=1 / 20),), RejectionReason.BLURRED),
    Fault("30 % linear light", (partial(exposed, light=0.3),), RejectionReason.DARK),
    Fault("+2 EV", (partial(exposed, light=4),), RejectionReason.OVER_EXPOSED),
    Fault("noise σ 50", (partial(grainy, sigma=50),), RejectionReason.NOISY),
    Fault("contrast 15 %", (partial(flat, share=0.15),), RejectionReason.LOW_CONTRAST),
)


@dataclass(frozen=True)
class Limit:
    """A limit of the policy, the figure that it bounds, and the reason of the faults that it must find.

    It lies between the figures of the worst good photo and of the mildest of the faults, on a logarithmic scale.
    """

    setting: str
    figure: str
    reason: RejectionReason
    is_least: bool = True
    towards_faults: float = TOWARDS_FAULTS
    is_condition: bool = False
    """The rule has another limit that separates. This one lies above all its faults."""


LIMITS = (
    Limit("max_noise", "noise", RejectionReason.NOISY, is_least=False),
    Limit("max_clipped", "clipped", RejectionReason.OVER_EXPOSED, is_least=False),
    Limit("min_mean_luma", "mean_luma", RejectionReason.DARK, is_condition=True),
    # Kitchens in the evening are dim: 1 in 200 generated scenes has a 95th percentile below 110.
    Limit("min_bright_luma", "bright_luma", RejectionReason.DARK, towards_faults=0.9),
    Limit("min_contrast", "contrast", RejectionReason.LOW_CONTRAST),
    Limit("min_detail", "detail", RejectionReason.BLURRED),
)


@dataclass(frozen=True)
class Original:
    """A photo as it is: its pixels (RGB), its labelled boxes and its group."""

    pixels: Pixels
    boxes: tuple[BoundingBox, ...]
    group: str


BEFORE = QualityPolicy(
    max_noise=255, max_clipped=1, min_mean_luma=40, min_bright_luma=80, min_contrast=0, min_sharpness=5, min_detail=0
)
"""Sharpness and brightness alone, with their limits of then."""
GOOD = "good"
Measured = Mapping[str, Sequence[Quality]]
"""Figures of all photos by fault, and of the originals under `GOOD`."""


def photo_paths(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in _PHOTO_SUFFIXES]


def read_originals(paths: Sequence[Path]) -> list[Original]:
    """The photos, with labels of YOLO (a file of the same name under labels/) where there are any."""
    contents = [path.read_bytes() for path in paths]
    named = [
        Photo(path.stem, signature, read_capture(content))
        for path, content in zip(paths, contents, strict=True)
        if (signature := signature_of(content)) is not None
    ]
    groups = group_photos(named, Grouping()).groups
    return [
        Original(decode(content, target_side=MEASURED_SIDE), _boxes_of(path), group)
        for path, content, group in zip(paths, contents, groups, strict=True)
    ]


def _boxes_of(path: Path) -> tuple[BoundingBox, ...]:
    labels = path.parent.parent / "labels" / f"{path.stem}.txt"
    rows = [line.split() for line in labels.read_text().splitlines()] if labels.exists() else []
    boxes = (BoundingBox.from_yolo([float(value) for value in row[1:]]) for row in rows if len(row) == _YOLO_COLUMNS)
    return tuple(box for box in boxes if box is not None)


def halves(originals: Sequence[Original]) -> tuple[list[int], list[int]]:
    """Indices of two halves: whole groups, the largest first, each to the smaller half."""
    sizes = Counter(original.group for original in originals)
    names: tuple[set[str], set[str]] = (set(), set())
    photos = [0, 0]
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        half = int(photos[1] < photos[0])
        names[half].add(group)
        photos[half] += size
    first, second = ([index for index, original in enumerate(originals) if original.group in half] for half in names)
    return first, second


def measure_all(originals: Sequence[Original], faults: Sequence[Fault]) -> dict[str, list[Quality]]:
    """Each photo with each fault, encoded as JPEG as a phone does."""
    measured: dict[str, list[Quality]] = {name: [] for name in (GOOD, *(fault.name for fault in faults))}
    for index, original in enumerate(track(originals, "measuring", transient=True)):
        for number, fault in enumerate((Fault(GOOD, (as_it_is,), RejectionReason.UNREADABLE), *faults)):
            pixels, rng = original.pixels, np.random.default_rng((SEED, index, number))
            for step in fault.steps:
                pixels = step(pixels, rng)
            pixels = _as_jpeg(pixels) if fault.name != GOOD else pixels
            measured[fault.name].append(measure(pixels, min(pixels.shape[:2]), original.boxes))
    return measured


def _as_jpeg(pixels: Pixels) -> Pixels:
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert encoded
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def choose(measured: Measured, faults: Sequence[Fault], photos: Sequence[int]) -> dict[str, float]:
    """Limits by setting, with two digits. See `Limit`."""
    chosen = {}
    for limit in LIMITS:
        good = _figures(measured[GOOD], photos, limit.figure)
        own = [fault.name for fault in faults if fault.reason is limit.reason]
        faulty = np.concatenate([_figures(measured[name], photos, limit.figure) for name in own])
        worst, nearest = (
            (good.min(), np.quantile(faulty, 0.98)) if limit.is_least else (good.max(), np.quantile(faulty, 0.02))
        )
        between = worst ** (1 - limit.towards_faults) * nearest**limit.towards_faults
        value = 1.1 * faulty.max() if limit.is_condition else between
        chosen[limit.setting] = float(f"{value:.2g}")
    return chosen


def _figures(rows: Sequence[Quality], photos: Sequence[int], figure: str) -> Any:
    return np.array([getattr(rows[index], figure) for index in photos], float)


def print_limits(
    measured: Measured, faults: Sequence[Fault], photos: Sequence[int], chosen: Mapping[str, float]
) -> None:
    """Ranges of each figure, and the chosen limit."""
    names = [GOOD, *(fault.name for fault in faults)]
    figures = [field.name for field in fields(Quality) if field.name != "shorter_side"]
    print(f"| minimum … maximum of {len(photos)} photos | " + " | ".join(figures) + " |")
    print("|---|" + "---|" * len(figures))
    for name in names:
        values = [_figures(measured[name], photos, figure) for figure in figures]
        print(f"| {name} | " + " | ".join(f"{each.min():.3g} … {each.max():.3g}" for each in values) + " |")
    by_figure = {limit.figure: f"{chosen[limit.setting]:g}" for limit in LIMITS}
    print("| **limit** | " + " | ".join(by_figure.get(figure, "") for figure in figures) + " |\n")


def print_shares(measured: Measured, faults: Sequence[Fault], photos: Sequence[int], policy: QualityPolicy) -> None:
    """For each fault the share of photos that are refused, and of those the share with the right reason."""
    print(f"| {len(photos)} photos | refused | with the right reason | reasons |\n|---|---|---|---|")
    for name, reason in ((GOOD, None), *((fault.name, fault.reason) for fault in faults)):
        problems = [quality_problem(measured[name][index], policy) for index in photos]
        reasons = Counter(problem.reason for problem in problems if problem)
        refused = sum(reasons.values())
        right = f"{reasons[reason] / max(refused, 1):.1%}" if reason else ""
        listed = ", ".join(f"{key.value} {count}" for key, count in reasons.most_common())
        print(f"| {name} | {refused / len(photos):.1%} | {right} | {listed} |")
    print()


def print_black_shares(originals: Sequence[Original]) -> None:
    """Photos that a limit on the share of black pixels would refuse: good ones, and those at 15 % of their light."""
    rng = np.random.default_rng(SEED)
    dark = next(fault for fault in FAULTS if fault.reason is RejectionReason.DARK)
    good = np.array([_black_share(original.pixels) for original in originals])
    faulty = np.array([_black_share(dark.steps[0](original.pixels, rng)) for original in originals])
    print("| limit | good | " + dark.name + " |\n|---|---|---|")
    for limit in (0.01, 0.02, 0.05, 0.1, 0.2):
        print(f"| {limit:.0%} | {(good > limit).mean():.1%} | {(faulty > limit).mean():.1%} |")
    print()


def _black_share(pixels: Pixels) -> float:
    return float((cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) <= BLACK_UP_TO).mean())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photo_quality", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders of good photos")
    originals = read_originals(photo_paths(parser.parse_args(arguments).folders))
    measured = measure_all(originals, FAULTS)
    first, second = halves(originals)
    chosen = choose(measured, FAULTS, first)
    policy = QualityPolicy(**chosen)  # type: ignore[arg-type]  # the limits of photos are numbers
    print(f"{len(originals)} good photos in {len({original.group for original in originals})} groups\n")
    print("The half that chooses the limits:\n")
    print_limits(measured, FAULTS, first, chosen)
    print("The other half with these limits:\n")
    print_limits(measured, FAULTS, second, chosen)
    print_shares(measured, FAULTS, second, policy)
    print("The other half with the check before this one:\n")
    print_shares(measured, FAULTS, second, BEFORE)
    print("The halves exchanged:\n")
    exchanged = QualityPolicy(**choose(measured, FAULTS, second))  # type: ignore[arg-type]
    print_shares(measured, FAULTS, first, exchanged)
    weaker = measure_all(originals[::WEAKER_STEP], WEAKER_FAULTS)
    print("Weaker faults, with a part of all photos:\n")
    print_shares(weaker, WEAKER_FAULTS, range(len(weaker[GOOD])), policy)
    print("Share of black pixels, which is no rule:\n")
    print_black_shares(originals[::WEAKER_STEP])
    print("limits that differ from the product's:", _differences(chosen) or "none")
    return 0


def _differences(chosen: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    policy = QualityPolicy()
    return {name: (value, getattr(policy, name)) for name, value in chosen.items() if value != getattr(policy, name)}


def figures() -> Iterator[Figure]:
    boxes = [BoundingBox(x=0.1, y=0.1, width=0.3, height=0.4), BoundingBox(x=0.5, y=0.3, width=0.4, height=0.4)]
    for size, photo in benchmark_photos().items():
        pixels = decode(photo, target_side=MEASURED_SIDE)
        side = min(pixels.shape[:2])
        seconds = run_interleaved(
            {
                "ours": partial(_repeated, partial(measure, pixels, side, boxes)),
                "mean, percentile and Laplacian": partial(_repeated, partial(check_before, pixels)),
            },
            rounds=ROUNDS,
        )
        ours, peer = ([turn / _REPEATS for turn in each] for each in seconds.values())
        yield paired_speedup(f"quality of a decoded photo, {size}", ours, "mean, percentile and Laplacian", peer)


_REPEATS = 5


def _repeated(check: Callable[[], object]) -> None:
    for _ in range(_REPEATS):
        check()


def check_before(pixels: Pixels) -> tuple[float, float, float]:
    """The figures of the earlier check: sharpness, mean and 95th percentile at 512 px."""
    height, width = pixels.shape[:2]
    if (scale := MEASURED_SIDE / max(height, width)) < 1:
        pixels = cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var()), float(grey.mean()), float(np.percentile(grey, 95))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
