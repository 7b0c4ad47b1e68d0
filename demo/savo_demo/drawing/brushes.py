"""Drawing primitives: shapes on a square canvas, shaded so that they look round.

Coordinates are fractions of the canvas (0…1, origin top left); colours are RGB 0…1. A canvas is drawn large and scaled
down afterwards, which gives smooth edges (supersampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""float32 numbers 0…1. Without an element type, because OpenCV's stubs have none."""

Points = Array
Colour = tuple[float, float, float]

SIDE = 384
"""Pixels of the canvas side, about twice the largest size in a scene."""

LIGHT = np.array([-0.45, -0.62, 0.64], np.float32)
"""Direction of the light: from the left, above and in front of the canvas."""


@dataclass(frozen=True)
class Sprite:
    """A cropped picture: premultiplied RGB 0…1 and its alpha."""

    rgb: Array
    alpha: Array


@dataclass
class Canvas:
    """Layers painted over each other, premultiplied."""

    rgb: Array = field(default_factory=lambda: np.zeros((SIDE, SIDE, 3), np.float32))
    alpha: Array = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.float32))

    def paint(self, mask: Array, colour: Array | Colour) -> None:
        """Paint `colour` over the canvas with the opacity `mask`, 0…1."""
        x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
        part = np.s_[y : y + height, x : x + width]
        cover, shade = mask[part], np.asarray(colour, np.float32)
        self.rgb[part] += ((shade[part] if shade.ndim > 1 else shade) - self.rgb[part]) * cover[..., None]
        self.alpha[part] += cover * (1 - self.alpha[part])

    def tint(self, mask: Array, colour: Colour, strength: float) -> None:
        """Colour painted areas without changing their outline."""
        self.paint((mask * self.alpha * strength).astype(np.float32), colour)

    def cut(self) -> Sprite:
        """The painted area as a sprite."""
        rows, columns = np.where(self.alpha > 0.02)
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        return Sprite(np.clip(self.rgb[top:bottom, left:right], 0, 1).copy(), self.alpha[top:bottom, left:right].copy())


def grid() -> tuple[Array, Array]:
    """x and y of the centre of each pixel, 0…1."""
    axis = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x.astype(np.float32), y.astype(np.float32)


def polygon(points: Any) -> Array:
    """The mask of a filled outline."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    corners = np.round(np.asarray(points, np.float32) * SIDE * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def ellipse(x: float, y: float, width: float, height: float, turn: float = 0.0) -> Array:
    """A filled ellipse by its centre, half axes and turn in radians."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    across, down = np.cos(angle) * width, np.sin(angle) * height
    return polygon(
        np.stack([x + across * np.cos(turn) - down * np.sin(turn), y + across * np.sin(turn) + down * np.cos(turn)], 1)
    )


def stroke(points: Any, width: float) -> Array:
    """A line of the given width with round ends."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    corners = np.round(np.asarray(points, np.float32) * SIDE * 16).astype(np.int32)
    cv2.polylines(mask, [corners], False, 255, max(1, round(width * SIDE)), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def ribbon(centre: Points, half_widths: Array) -> Points:
    """The outline of a body that follows a centre line with a half width at each of its points."""
    along = np.gradient(centre, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-along[:, 1], along[:, 0]], 1) * half_widths[:, None]
    return np.concatenate([centre + normal, (centre - normal)[::-1]]).astype(np.float32)


def bezier(points: Sequence[tuple[float, float]], count: int = 40) -> Points:
    """A quadratic curve through a start, towards a control point, to an end."""
    t = np.linspace(0, 1, count)[:, None]
    start, control, end = (np.asarray(point) for point in points)
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end, np.float32)


def height_of(mask: Array, roundness: float = 1.0) -> Array:
    """Heights in pixels that make a flat mask look round. `roundness`, 0…1, is the width of its curved edge.

    At 1 a disc becomes a half ball.
    """
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    top = max(float(distance.max()), 1.0)
    if roundness == 1.0:
        return _balloon_heights(mask, distance)
    inward = np.clip(distance / (top * roundness), 0, 1)
    height = np.sqrt(np.clip(1 - (1 - inward) ** 2, 0, 1)) * top * roundness
    return np.asarray(cv2.GaussianBlur(height.astype(np.float32), (0, 0), SIDE * 0.012))


_CELLS = 96
_NEIGHBOURS = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]], np.float32)


def _balloon_heights(mask: Array, distance: Array) -> Array:
    """Heights from Poisson's equation on a coarse grid. On a disc, twice the square root is exactly a half ball."""
    step = SIDE / _CELLS
    inside = (cv2.resize(mask, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA) > 0.5).astype(np.float32)
    film: Array = (cv2.resize(distance, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA) / step) ** 2 / 3
    for _ in range(600):
        film = (cv2.filter2D(film, -1, _NEIGHBOURS) + 0.25) * inside
    smooth = cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(2 * np.sqrt(np.clip(smooth, 0, None)) * step, (0, 0), SIDE * 0.008).astype(np.float32)


def lit(
    colour: Array | Colour,
    height: Array,
    *,
    ambient: float = 0.42,
    gloss: float = 0.25,
    hardness: float = 24.0,
    relief: float = 1.0,
) -> Array:
    """The colour under the light: diffuse reflection by slope, and a highlight by `gloss` and `hardness`."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8 * relief
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8 * relief
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    facing = (-slope_x * LIGHT[0] - slope_y * LIGHT[1] + LIGHT[2]) / length
    mirrored = 2 * facing / length - LIGHT[2]
    shade = ambient + (1.05 - ambient) * np.clip(facing, 0, 1) / LIGHT[2] ** 0.5
    highlight = gloss * np.clip(mirrored, 0, 1) ** hardness
    return np.asarray(
        np.clip(np.asarray(colour, np.float32) * shade[..., None] + highlight[..., None], 0, 1), np.float32
    )


def blend(first: Array | Colour, second: Array | Colour, amount: Array) -> Array:
    """Interpolate two colours by a field 0…1."""
    cover = np.clip(amount, 0, 1)[..., None]
    return np.asarray(np.asarray(first, np.float32) * (1 - cover) + np.asarray(second, np.float32) * cover, np.float32)


def mottle(rng: np.random.Generator, cells: int, shape: tuple[int, int] = (SIDE, SIDE), stretch: float = 1.0) -> Array:
    """Smooth noise around 0 (about −1…1) with `cells` patches across; `stretch` widens them."""
    rows = max(2, round(cells * shape[0] / shape[1]))
    coarse = rng.normal(0, 0.5, (rows, max(2, round(cells / stretch)))).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def jitter(rng: np.random.Generator, colour: Colour, amount: float = 0.04) -> Colour:
    """A random colour near the given one."""
    red, green, blue = (float(np.clip(part + rng.uniform(-amount, amount), 0, 1)) for part in colour)
    return red, green, blue
