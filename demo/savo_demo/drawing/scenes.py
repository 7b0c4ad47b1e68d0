"""Generated photos of kitchens with their true boxes.

A scene is a pure function of seed, index and settings: the same give the same bytes with the same libraries. One to
four ingredients (seven in hard scenes) are on a table, in a fridge or in a pantry, among things without a label, under
varied light, partly hidden, slightly blurred and noisy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_demo.drawing import ingredients_art as ingredients
from savo_demo.drawing import kitchen_art as kitchen
from savo_demo.drawing.brushes import Array, Sprite
from savo_demo.drawing.difficulty import MEDIUM, Difficulty

Rng = np.random.Generator
Defect = Literal["blurred", "dark", "broken", "duplicate"]

CLASSES: tuple[str, ...] = tuple(ingredients.DRAWINGS)
"""Canonical labels in class order."""

MAX_HIDDEN_SHARE = 0.60
"""An item that is hidden by more than this share has no box, because a person would not name it either."""


@dataclass(frozen=True)
class SceneSettings:
    """Size in pixels, JPEG quality, difficulty, and the ingredients to choose from."""

    width: int = 640
    height: int = 480
    jpeg_quality: int = 88
    difficulty: Difficulty = MEDIUM
    classes: tuple[str, ...] = CLASSES


@dataclass(frozen=True)
class Scene:
    """A JPEG photo and the true boxes in it."""

    name: str
    jpeg: bytes
    truth: tuple[TruthBox, ...]
    """Visible ingredients with tight boxes around their visible parts."""


def draw_scene(seed: int, index: int, settings: SceneSettings = SceneSettings()) -> Scene:
    """Generate the scene of a seed and an index."""
    rng = np.random.default_rng((seed, index))
    picture = _Picture(rng, settings)
    picture.arrange()
    return Scene(f"scene-{seed}-{index:05d}", _encode(picture.rendered(), settings.jpeg_quality), picture.truth())


def draw_scenes(count: int, seed: int, settings: SceneSettings = SceneSettings(), *, first: int = 0) -> Iterator[Scene]:
    """Generate `count` scenes from index `first` on."""
    return (draw_scene(seed, index, settings) for index in range(first, first + count))


def add_defect(photo: bytes, defect: Defect, rng: Rng) -> bytes:
    """The photo with one defect.

    Blurred and dark photos can be decoded, a broken one is truncated, a duplicate has the same bytes.
    """
    if defect == "duplicate":
        return photo
    if defect == "broken":
        return photo[: int(len(photo) * rng.uniform(0.25, 0.6))]
    image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "only a photo that can be decoded can get this defect"
    defective = cv2.GaussianBlur(image, (0, 0), rng.uniform(9, 13)) if defect == "blurred" else _darkened(image, rng)
    return _jpeg(np.asarray(defective, np.uint8), 88)


def _darkened(image: Array, rng: Rng) -> Array:
    """Almost no light, with sensor noise."""
    dim = image.astype(np.float32) * rng.uniform(0.05, 0.09) + rng.normal(0, 1.5, image.shape)
    return np.clip(dim, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Placed:
    """A sprite at its place in the picture."""

    rgb: Array
    alpha: Array
    x: int
    y: int


class _Picture:
    """A scene under construction."""

    def __init__(self, rng: Rng, settings: SceneSettings) -> None:
        self.rng = rng
        self.width, self.height = settings.width, settings.height
        self.difficulty, self.classes = settings.difficulty, settings.classes
        kind, variant = int(rng.integers(len(kitchen.BACKDROPS))), int(rng.integers(kitchen.VARIANTS))
        place = kitchen.backdrop(kind, variant)
        self.rgb, self.floors = _view(place, rng, self.width, self.height)
        self.owner = np.zeros((self.height, self.width), np.uint8)
        self.labels: list[str] = []
        self.full: list[int] = []
        self.spots: list[tuple[float, float, float]] = []

    def arrange(self) -> None:
        """Place clutter in the background, the ingredients, and sometimes clutter in front."""
        level = self.difficulty
        for _ in range(int(self.rng.integers(level.clutter[0], level.clutter[1] + 1))):
            self._put_clutter(self.rng.uniform(0.24, 0.44))
        count = int(self.rng.choice(level.max_items, p=_chances(level.max_items))) + 1
        is_repeated = bool(self.rng.random() < 0.15)
        for label in self.rng.choice(self.classes, self._possible(count, is_repeated=is_repeated), replace=is_repeated):
            self._put_ingredient(str(label))
        for _ in range(level.in_front):
            if self.rng.random() < level.in_front_probability:
                self._put_clutter(self.rng.uniform(*level.in_front_size))

    def _possible(self, count: int, *, is_repeated: bool) -> int:
        """The count, or the number of classes where each occurs at most once."""
        return count if is_repeated else min(count, len(self.classes))

    def truth(self) -> tuple[TruthBox, ...]:
        return tuple(truth for number in range(1, len(self.labels) + 1) if (truth := self._visible(number)))

    def rendered(self) -> Array:
        """The picture with the effects of light, lens and sensor, RGB 0…255."""
        rng = self.rng
        light = _light(rng, self.width, self.height, self.difficulty)
        picture = self.rgb * light
        if (softness := rng.uniform(0.0, self.difficulty.softness)) > 0.35:
            picture = cv2.GaussianBlur(picture, (0, 0), softness)
        top, left = (int(offset) for offset in rng.integers(0, 160, 2))
        grain = _grain()[top : top + self.height, left : left + self.width, None] * rng.uniform(*self.difficulty.grain)
        return np.clip(picture * 255 + grain, 0, 255).astype(np.float32)

    def _put_ingredient(self, label: str) -> None:
        sprite = ingredients.drawing_of(label, int(self.rng.integers(ingredients.VARIANTS)))
        tilt = 10 if label in ingredients.UPRIGHT else 18
        sizes = self.difficulty.shelf_size if self.floors else self.difficulty.size
        size = self.rng.uniform(*sizes) * self.width * (0.85 if label == "egg" else 1.0)
        turn, mirrors = self.rng.uniform(-tilt, tilt), label not in ingredients.WITH_TEXT
        placed = self._place(sprite, size, turn, clearance=self.difficulty.clearance, mirrors=mirrors)
        self.labels.append(label)
        self.full.append(int((placed.alpha > 0.5).sum()))
        self._lay(placed, number=len(self.labels))

    def _put_clutter(self, size: float) -> None:
        upright = bool(self.floors)
        sprite = kitchen.clutter(int(self.rng.integers(4)), int(self.rng.integers(kitchen.VARIANTS)), upright=upright)
        turn = self.rng.uniform(-4, 4) if upright else self.rng.uniform(-60, 60)
        self._lay(self._place(sprite, size * self.width, turn, clearance=0.0), number=0)

    def _place(self, sprite: Sprite, size: float, turn: float, *, clearance: float, mirrors: bool = False) -> _Placed:
        rgb, alpha = _turned(sprite, size, turn, self.rng, mirrored=bool(self.rng.random() < 0.5) and mirrors)
        height, width = alpha.shape
        best, clearest = (0.0, 0.0), -np.inf
        for _ in range(14 if clearance else 1):
            x, y = self._random_centre(width, height)
            clear = min((_clearance((x, y, size), spot) for spot in self.spots), default=1.0)
            if clear > clearest:
                best, clearest = (x, y), clear
            if clear > clearance:
                break
        if clearance:
            self.spots.append((*best, size))
        return _Placed(rgb, alpha, round(best[0] - width / 2), round(best[1] - height / 2))

    def _random_centre(self, width: int, height: int) -> tuple[float, float]:
        """A random centre: on a shelf, or anywhere on a table; sometimes cut off by the edge of the photo."""
        spill = 0.15 if self.rng.random() < 0.08 else 0.0
        x = self.rng.uniform(width * (0.5 - spill), self.width - width * (0.5 - spill))
        if self.floors:
            return x, float(self.rng.choice(self.floors)) * self.height - height * 0.5 + self.rng.uniform(2, 7)
        return x, self.rng.uniform(height * (0.5 - spill), self.height - height * (0.5 - spill))

    def _lay(self, placed: _Placed, *, number: int) -> None:
        """Paint a sprite with its shadow. `number` marks its pixels in `owner`; 0 is clutter."""
        self._shade(placed)
        window = _window(placed, self.width, self.height)
        if window is None:
            return
        rows, columns, part_rows, part_columns = window
        alpha = placed.alpha[part_rows, part_columns]
        self.rgb[rows, columns] = placed.rgb[part_rows, part_columns] + self.rgb[rows, columns] * (1 - alpha[..., None])
        self.owner[rows, columns][alpha > 0.5] = number

    def _shade(self, placed: _Placed) -> None:
        margin = 18
        soft = cv2.GaussianBlur(
            cv2.copyMakeBorder(placed.alpha, *(margin,) * 4, cv2.BORDER_CONSTANT, value=0), (0, 0), 7
        )
        shadow = _Placed(placed.rgb, soft, placed.x - margin + 7, placed.y - margin + 6)
        if window := _window(shadow, self.width, self.height):
            rows, columns, part_rows, part_columns = window
            self.rgb[rows, columns] *= 1 - 0.42 * soft[part_rows, part_columns, None]

    def _visible(self, number: int) -> TruthBox | None:
        rows, columns = np.where(self.owner == number)
        if len(rows) < max(60, (1 - MAX_HIDDEN_SHARE) * self.full[number - 1]):
            return None
        corners = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        return TruthBox(self.labels[number - 1], BoundingBox.from_pixels(corners, self.width, self.height))


def _chances(most: int) -> Array:
    """Probabilities of one to `most` items. Two are most frequent, four are rare."""
    weights = np.array([0.30, 0.38, 0.22, 0.10][:most] + [0.1] * max(0, most - 4))
    return np.asarray(weights / weights.sum(), np.float64)


def _clearance(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Distance of two centres divided by their mean size. Below about 0.6 they overlap visibly."""
    return float(np.hypot(first[0] - second[0], first[1] - second[1]) / ((first[2] + second[2]) / 2))


def _view(place: kitchen.Backdrop, rng: Rng, width: int, height: int) -> tuple[Array, tuple[float, ...]]:
    """A part of the backdrop, possibly mirrored, and its shelves as fractions of that part."""
    zoom = rng.uniform(0.82, 1.0)
    rows, columns = int(kitchen.HEIGHT * zoom), int(kitchen.WIDTH * zoom)
    top, left = int(rng.integers(0, kitchen.HEIGHT - rows + 1)), int(rng.integers(0, kitchen.WIDTH - columns + 1))
    part = place.rgb[top : top + rows, left : left + columns]
    floors = tuple(
        floor for floor in ((edge * kitchen.HEIGHT - top) / rows for edge in place.floors) if 0.3 < floor < 1.0
    )
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32), floors


def _turned(sprite: Sprite, size: float, turn: float, rng: Rng, *, mirrored: bool) -> tuple[Array, Array]:
    """The sprite at `size` pixels, rotated by `turn` degrees, slightly tilted and cropped."""
    height, width = sprite.alpha.shape
    scale = size / max(height, width)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    middle = corners.mean(0)
    shaped = (corners - middle) * scale * np.array([-1 if mirrored else 1, 1], np.float32)
    shaped += rng.uniform(-0.03, 0.03, (4, 2)).astype(np.float32) * size
    angle = np.deg2rad(turn)
    turned = shaped @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    turned -= turned.min(0)
    target = np.ceil(turned.max(0)).astype(int)
    lens = cv2.getPerspectiveTransform(corners, turned.astype(np.float32))
    area = (int(target[0]), int(target[1]))
    rgb = cv2.warpPerspective(sprite.rgb, lens, area, flags=cv2.INTER_LINEAR)
    alpha = cv2.warpPerspective(sprite.alpha, lens, area, flags=cv2.INTER_LINEAR)
    x, y, across, down = cv2.boundingRect((alpha > 0.4).astype(np.uint8))
    return rgb[y : y + down, x : x + across].astype(np.float32), alpha[y : y + down, x : x + across].astype(np.float32)


def _window(placed: _Placed, width: int, height: int) -> tuple[slice, slice, slice, slice] | None:
    """Rows and columns in the picture and in the sprite; None if it lies outside."""
    part_height, part_width = placed.alpha.shape
    top, left = max(0, placed.y), max(0, placed.x)
    bottom, right = min(height, placed.y + part_height), min(width, placed.x + part_width)
    if bottom <= top or right <= left:
        return None
    return (
        slice(top, bottom),
        slice(left, right),
        slice(top - placed.y, bottom - placed.y),
        slice(left - placed.x, right - placed.x),
    )


def _light(rng: Rng, width: int, height: int, level: Difficulty) -> Array:
    """Factors for each pixel and channel: warm or cold light, brighter on one side, possibly with a shadow."""
    x, y = np.meshgrid(np.linspace(-1, 1, 40, dtype=np.float32), np.linspace(-1, 1, 30, dtype=np.float32))
    angle = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(*level.light) * (1 + rng.uniform(0.0, level.slope) * (np.cos(angle) * x + np.sin(angle) * y))
    light *= 1 - rng.uniform(0.0, 0.16) * (x**2 + y**2)
    if rng.random() < level.shadow_probability:
        edge = (np.cos(angle * 1.7) * x + np.sin(angle * 1.7) * y - rng.uniform(-0.5, 0.5)) * rng.uniform(3, 9)
        light *= 1 - rng.uniform(*level.shadow) / (1 + np.exp(-edge))
    warmth = rng.uniform(-0.09, 0.11)
    tint = np.array([1 + warmth, 1 + warmth * 0.15, 1 - warmth], np.float32)
    return np.asarray(
        cv2.resize((light[..., None] * tint).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR),
        np.float32,
    )


@lru_cache(maxsize=1)
def _grain() -> Array:
    """Sensor noise, generated once; scenes use different parts of it."""
    return np.random.default_rng(5).normal(0, 1, (2000, 2000)).astype(np.float32)


def _encode(picture: Array, quality: int) -> bytes:
    return _jpeg(cv2.cvtColor(picture.astype(np.uint8), cv2.COLOR_RGB2BGR).astype(np.uint8), quality)


def _jpeg(bgr: Array, quality: int) -> bytes:
    done, buffer = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV could not write a JPEG"
    return buffer.tobytes()
