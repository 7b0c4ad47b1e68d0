"""Photo quality: what is measured of a photo, the limits of a training sample, and the reason of a refusal.

All figures are of a copy whose longer side is 512 px, so that they mean the same for a thumbnail and for 12 megapixels.
The limits are those of `benchmarks/photo_quality.py`: it damages half of the real photos and prints how many of the
other half are found (docs/measurements/photo-quality.md).

Sharpness compares two scales. Contours that are sharp have fine detail (second differences at half scale) in proportion
to their strength (gradients at quarter scale); blur takes the fine detail first. The ratio does not depend on light,
contrast or how full the photo is. The detail is that of the least sharp direction, because motion blurs only one. A
median keeps grain from counting as detail, and what is left of white noise is subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import RejectionReason
from savo_detection.photos.decoding import Pixels

__all__ = ["MEASURED_SIDE", "Quality", "QualityPolicy", "QualityProblem", "measure", "quality_problem"]

MEASURED_SIDE = 512
"""Longer side of the copy that is measured, in pixels."""

_HISTOGRAM_BINS = 256
_CLIPPED_FROM = 250
"""A channel from this value on is clipped. Not 255, because JPEG's rounding leaves clipped areas a little below."""
_BOX_MARGIN = 0.02
"""Share of the longer side by which a box is widened: its outline is the sharpest part of a plain ingredient."""
_MIN_BOXED_SHARE = 0.01
"""Boxes that cover less of the photo hold too few pixels to be measured. The whole photo is measured instead."""
_NOISE_DETAIL = 0.08
"""Detail of white noise after the median, as a multiple of `Quality.noise` squared. Measured with σ = 8."""
_MIN_GRADIENT = 0.1
"""Least energy of gradients in the ratio: a plain photo has neither contours nor detail."""

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Quality:
    """What was measured of a photo. Brightness is 0…255."""

    shorter_side: int
    """Of the photo itself, in pixels."""
    noise: float
    """Mean difference from a 3×3 median: 0.47 σ for white noise."""
    clipped: float
    """Share of pixels with two channels at their maximum, in the photo and in its boxes, 0…1."""
    mean_luma: float
    bright_luma: float
    """95th percentile."""
    contrast: float
    """Difference of the 99th and the 1st percentile."""
    sharpness: float
    """Variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000)."""
    detail: float
    """Fine detail of the boxes in percent of the strength of their contours, in the least sharp direction."""


@dataclass(frozen=True)
class QualityPolicy:
    """Limits of a photo that may become a sample, chosen by `benchmarks/photo_quality.py`."""

    min_side: int = 160
    """Pixels of the shorter side."""
    max_noise: float = 15.0
    max_clipped: float = 0.12
    min_mean_luma: float = 81.0
    """A photo below it is dark, unless its 95th percentile reaches `min_bright_luma`."""
    min_bright_luma: float = 98.0
    """A lit object before a black background has a low mean, and is no dark photo."""
    min_contrast: float = 22.0
    min_sharpness: float = 5.0
    min_detail: float = 5.5


@dataclass(frozen=True)
class QualityProblem:
    """Why a photo may not become a sample. `detail` holds the measured figure and its limit."""

    reason: RejectionReason
    detail: str


def measure(pixels: Pixels, shorter_side: int, boxes: Sequence[BoundingBox] = ()) -> Quality:
    """Measure a photo. `boxes`: the labelled ingredients, in which detail is measured.

    `pixels` may be a reduced copy whose longer side is at least 512 px. `shorter_side` is the photo's, in pixels.
    """
    small = _reduced(pixels)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    boxed = _mask(boxes, grey.shape)
    counts = cv2.calcHist([grey], [0], None, [_HISTOGRAM_BINS], [0, _HISTOGRAM_BINS]).ravel()
    first, bright, last = np.searchsorted(np.cumsum(counts), np.array([0.01, 0.95, 0.99]) * grey.size).tolist()
    noise = cv2.mean(cv2.absdiff(grey, cv2.medianBlur(grey, 3)))[0]
    return Quality(
        shorter_side=shorter_side,
        noise=noise,
        clipped=_clipped_share(small, boxed),
        mean_luma=float(counts @ np.arange(_HISTOGRAM_BINS)) / grey.size,
        bright_luma=bright,
        contrast=last - first,
        sharpness=_variance(cv2.Laplacian(grey, cv2.CV_16S)),
        detail=_detail(grey, noise, boxed),
    )


def quality_problem(quality: Quality, policy: QualityPolicy) -> QualityProblem | None:
    """Why the photo may not become a sample; None for a good one.

    The order of the rules gives the right reason: a noisy photo is clipped, a clipped or dark one has little contrast,
    and each of them may be blurred.
    """
    for reason, rule in _RULES:
        if detail := rule(quality, policy):
            return QualityProblem(reason, detail)
    return None


def _too_small(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.shorter_side >= policy.min_side:
        return None
    return f"the shorter side has {quality.shorter_side} px, at least {policy.min_side} px are needed"


def _noisy(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.noise <= policy.max_noise:
        return None
    return f"noise is {quality.noise:.1f} (of 255), at most {policy.max_noise:.1f} is allowed"


def _over_exposed(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.clipped <= policy.max_clipped:
        return None
    return f"{quality.clipped:.0%} of the pixels are over-exposed, at most {policy.max_clipped:.0%} may be"


def _dark(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.mean_luma >= policy.min_mean_luma or quality.bright_luma >= policy.min_bright_luma:
        return None
    figures = f"mean brightness is {quality.mean_luma:.0f}, 95th percentile {quality.bright_luma:.0f} (of 255)"
    limits = f"mean >= {policy.min_mean_luma:.0f} or 95th percentile >= {policy.min_bright_luma:.0f}"
    return f"{figures}; {limits} is needed"


def _low_contrast(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.contrast >= policy.min_contrast:
        return None
    return f"contrast is {quality.contrast:.0f} (of 255), at least {policy.min_contrast:.0f} is needed"


def _blurred(quality: Quality, policy: QualityPolicy) -> str | None:
    if quality.sharpness < policy.min_sharpness:
        return f"sharpness is {quality.sharpness:.1f}, at least {policy.min_sharpness:.1f} is needed"
    if quality.detail < policy.min_detail:
        return f"fine detail is {quality.detail:.1f} % of the contours, at least {policy.min_detail:.1f} % is needed"
    return None


_RULES: tuple[tuple[RejectionReason, Callable[[Quality, QualityPolicy], str | None]], ...] = (
    (RejectionReason.TOO_SMALL, _too_small),
    (RejectionReason.NOISY, _noisy),
    (RejectionReason.OVER_EXPOSED, _over_exposed),
    (RejectionReason.DARK, _dark),
    (RejectionReason.LOW_CONTRAST, _low_contrast),
    (RejectionReason.BLURRED, _blurred),
)


def _detail(grey: Array, noise: float, boxed: Mask | None) -> float:
    """See `Quality.detail`, and the module's docstring for the reasons. `boxed`: where to measure."""
    smooth = cv2.medianBlur(grey, 5)
    halves, quarters = (_shrunk(smooth, factor).astype(np.float32) for factor in (2, 4))
    fine = min(
        cv2.mean(difference * difference, _inner(boxed, halves))[0] for difference in _second_differences(halves)
    )
    contours = _mean_gradient(quarters, _inner(boxed, quarters))
    return 100 * max(0.0, fine - _NOISE_DETAIL * noise**2) / max(contours, _MIN_GRADIENT)


def _second_differences(grey: Floats) -> tuple[Floats, ...]:
    """Second differences along the rows, the columns and both diagonals (there with a step of √2 pixels)."""
    centre = 2 * grey[1:-1, 1:-1]
    return (
        grey[1:-1, 2:] - centre + grey[1:-1, :-2],
        grey[2:, 1:-1] - centre + grey[:-2, 1:-1],
        (grey[2:, 2:] - centre + grey[:-2, :-2]) / 2,
        (grey[2:, :-2] - centre + grey[:-2, 2:]) / 2,
    )


def _mean_gradient(grey: Floats, mask: Mask | None) -> float:
    """Mean squared gradient of both directions."""
    across, down = (cv2.Sobel(grey, cv2.CV_32F, x, 1 - x, scale=1 / 8)[1:-1, 1:-1] for x in (1, 0))
    return cv2.mean((across * across + down * down) / 2, mask)[0]


def _clipped_share(pixels: Pixels, boxed: Mask | None) -> float:
    """The smaller share of the photo and its boxes, because a white wall or a white ingredient is no fault.

    Two channels of a clipped pixel are at their maximum: one alone may be a vivid colour.
    """
    red, green, blue = cv2.split(pixels)
    second = cv2.max(cv2.min(red, green), cv2.min(cv2.max(red, green), blue))
    _, clipped = cv2.threshold(second, _CLIPPED_FROM - 1, 255, cv2.THRESH_BINARY)
    return min(cv2.mean(clipped)[0], cv2.mean(clipped, boxed)[0]) / 255


def _mask(boxes: Sequence[BoundingBox], shape: Sequence[int]) -> Mask | None:
    """255 inside the widened boxes; None for the whole photo."""
    height, width = shape
    mask = np.zeros((height, width), np.uint8)
    margin = _BOX_MARGIN * max(height, width)
    for box in boxes:
        left, top, right, bottom = box.to_pixels(width, height)
        rows = slice(max(0, round(top - margin)), round(bottom + margin))
        mask[rows, max(0, round(left - margin)) : round(right + margin)] = 255
    return mask if np.count_nonzero(mask) >= _MIN_BOXED_SHARE * mask.size else None


def _inner(mask: Mask | None, picture: Floats) -> Mask | None:
    """The mask at the size of a reduced picture, without the border that a 3×3 filter cannot reach."""
    if mask is None:
        return None
    height, width = picture.shape
    return np.ascontiguousarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)[1:-1, 1:-1])


def _variance(values: Array) -> float:
    _, deviation = cv2.meanStdDev(values)
    return float(deviation[0, 0]) ** 2


def _shrunk(grey: Array, factor: int) -> Array:
    height, width = grey.shape
    size = max(3, width // factor), max(3, height // factor)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = MEASURED_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
