"""Photo quality: size, brightness and sharpness of a photo, each with its limit.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000)
on a copy whose longer side is 512 px, so that it means the same for a thumbnail and for 12 megapixels. Darkness needs
two figures: a lit object before a black background has a low mean, and is no dark photo.

Measured on 393 real photos (groceries on a table, hand-held in shops), with the limits between the rows:

                                               sharpness    mean brightness   95th percentile
as they are                                    6.5 … 1405   70 … 179          140 … 243
blurred with σ = 1/80 of the longer side       0.6 … 3.5
at 15 % of their light                                      10 … 26           21 … 36
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from savo_contracts.samples import RejectionReason
from savo_detection.photos.decoding import Pixels

__all__ = ["MEASURED_SIDE", "Quality", "QualityPolicy", "QualityProblem", "measure", "quality_problem"]

MEASURED_SIDE = 512
"""Longer side of the copy that is measured, in pixels."""


@dataclass(frozen=True)
class QualityPolicy:
    """Limits of a photo that may become a sample."""

    min_sharpness: float = 5.0
    min_mean_luma: float = 40.0
    """0…255. A photo below it is dark, unless its 95th percentile reaches `min_bright_luma`."""
    min_bright_luma: float = 80.0
    """0…255."""
    min_side: int = 160
    """Pixels of the shorter side."""


@dataclass(frozen=True)
class Quality:
    """What was measured of a photo."""

    sharpness: float
    mean_luma: float
    bright_luma: float
    shorter_side: int


@dataclass(frozen=True)
class QualityProblem:
    """Why a photo may not become a sample. `detail` holds the measured figure and its limit."""

    reason: RejectionReason
    detail: str


def measure(pixels: Pixels, shorter_side: int) -> Quality:
    """`pixels` may be a reduced copy whose longer side is at least 512 px. `shorter_side` is the photo's, in pixels."""
    grey = cv2.cvtColor(_reduced(pixels), cv2.COLOR_RGB2GRAY)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    return Quality(sharpness, float(grey.mean()), float(np.percentile(grey, 95)), shorter_side)


def quality_problem(quality: Quality, policy: QualityPolicy) -> QualityProblem | None:
    """Why the photo may not become a sample; None for a good one.

    Blur is checked last, because a small or a dark photo is blurred too.
    """
    if quality.shorter_side < policy.min_side:
        return QualityProblem(
            RejectionReason.TOO_SMALL,
            f"the shorter side has {quality.shorter_side} px, at least {policy.min_side} px are needed",
        )
    if quality.mean_luma < policy.min_mean_luma and quality.bright_luma < policy.min_bright_luma:
        figures = f"mean brightness is {quality.mean_luma:.0f}, 95th percentile {quality.bright_luma:.0f} (of 255)"
        return QualityProblem(
            RejectionReason.DARK,
            f"{figures}; "
            f"mean >= {policy.min_mean_luma:.0f} or 95th percentile >= {policy.min_bright_luma:.0f} is needed",
        )
    if quality.sharpness < policy.min_sharpness:
        return QualityProblem(
            RejectionReason.BLURRED,
            f"sharpness is {quality.sharpness:.1f}, at least {policy.min_sharpness:.1f} is needed",
        )
    return None


def _reduced(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = MEASURED_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
