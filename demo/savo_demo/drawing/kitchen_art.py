"""Drawings of the surroundings: tables, fridge and pantry shelves, and clutter without a label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from savo_demo.drawing.brushes import (
    SIDE,
    Array,
    Canvas,
    Colour,
    Sprite,
    blend,
    ellipse,
    grid,
    height_of,
    jitter,
    lit,
    mottle,
    polygon,
    stroke,
)

Rng = np.random.Generator

WIDTH, HEIGHT = 800, 600
"""Pixels of a backdrop, of which a scene shows a part."""

VARIANTS = 6


@dataclass(frozen=True)
class Backdrop:
    """A background. `floors` are the heights of its shelves, 0…1 from the top; without any, things lie anywhere."""

    rgb: Array
    floors: tuple[float, ...] = ()


def _wood(rng: Rng, colour: Colour, *, planks: int, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
    grain = mottle(rng, 26, shape, stretch=9) * 0.5 + mottle(rng, 110, shape, stretch=24) * 0.5
    rows = np.arange(shape[0])
    plank = (rows * planks // shape[0]).astype(int)
    tone = rng.uniform(-0.09, 0.09, planks)[plank][:, None] + grain * 0.11
    seam = np.exp(-(((rows * planks / shape[0]) % 1 * shape[0] / planks) ** 2) / 4)[:, None]
    return np.asarray(np.clip(np.asarray(colour, np.float32) * (1 + tone - 0.55 * seam)[..., None], 0, 1), np.float32)


def _table(rng: Rng) -> Backdrop:
    woods = ((0.66, 0.46, 0.28), (0.80, 0.66, 0.47), (0.42, 0.28, 0.18), (0.74, 0.70, 0.64), (0.55, 0.40, 0.30))
    if rng.random() < 0.65:
        return Backdrop(_wood(rng, jitter(rng, woods[int(rng.integers(len(woods)))]), planks=int(rng.integers(3, 7))))
    stones = ((0.80, 0.80, 0.79), (0.38, 0.40, 0.42), (0.70, 0.66, 0.60))
    marble = mottle(rng, 8, (HEIGHT, WIDTH)) * 0.10 + mottle(rng, 200, (HEIGHT, WIDTH)) * 0.07
    return Backdrop(
        np.clip(np.asarray(stones[int(rng.integers(3))], np.float32) * (1 + marble[..., None]), 0, 1).astype(np.float32)
    )


def _fridge(rng: Rng) -> Backdrop:
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(0, 1, HEIGHT, dtype=np.float32))
    glow = 0.93 - 0.17 * x**2 - 0.16 * y + mottle(rng, 5, (HEIGHT, WIDTH)) * 0.02
    rgb = np.asarray(jitter(rng, (0.90, 0.95, 0.98), 0.03), np.float32) * glow[..., None]
    for rib in np.linspace(0.1, 0.9, int(rng.integers(3, 7))):
        column = int(rib * WIDTH)
        rgb[:, column : column + 3] *= 0.94
        rgb[:, column + 3 : column + 6] *= 1.04
    floors = (rng.uniform(0.40, 0.50), rng.uniform(0.84, 0.94))
    for floor in floors:
        row = int(floor * HEIGHT)
        rgb[row - 26 : row] *= np.linspace(1.0, 0.90, 26, dtype=np.float32)[:, None, None]
        rgb[row : row + 9] = np.asarray((0.72, 0.86, 0.88), np.float32) * (0.95 + 0.05 * x[row : row + 9, :, None])
        rgb[row : row + 2] = (0.95, 0.99, 1.0)
        rgb[row + 9 : row + 40] *= np.linspace(0.80, 1.0, 31, dtype=np.float32)[:, None, None]
    return Backdrop(np.clip(rgb, 0, 1).astype(np.float32), floors)


def _pantry(rng: Rng) -> Backdrop:
    walls = ((0.62, 0.55, 0.45), (0.48, 0.52, 0.50), (0.70, 0.62, 0.52), (0.36, 0.30, 0.27))
    wall = (
        np.asarray(jitter(rng, walls[int(rng.integers(4))]), np.float32)
        * (1 + mottle(rng, 6, (HEIGHT, WIDTH)) * 0.08)[..., None]
    )
    rgb = wall * np.linspace(0.80, 1.05, HEIGHT, dtype=np.float32)[:, None, None]
    if rng.random() < 0.5:
        _tiles(rgb, int(rng.integers(70, 120)))
    floors = (rng.uniform(0.42, 0.50), rng.uniform(0.86, 0.93))
    board = _wood(rng, jitter(rng, (0.58, 0.41, 0.26), 0.07), planks=1, shape=(60, WIDTH))
    for floor in floors:
        row = int(floor * HEIGHT)
        rgb[row : row + 30] = board[: len(rgb[row : row + 30])]
        rgb[row : row + 3] *= 1.2
        below = rgb[row + 30 : row + 80]
        below *= np.linspace(0.55, 1.0, 50, dtype=np.float32)[: len(below), None, None]
    return Backdrop(np.clip(rgb, 0, 1).astype(np.float32), floors)


def _tiles(rgb: Array, side: int) -> None:
    for row in range(0, HEIGHT, side):
        rgb[row : row + 3] *= 1.15
    for column in range(0, WIDTH, side):
        rgb[:, column : column + 3] *= 1.15


_PAINTS: tuple[Colour, ...] = (
    (0.55, 0.62, 0.70),
    (0.75, 0.72, 0.66),
    (0.40, 0.34, 0.44),
    (0.86, 0.84, 0.80),
    (0.30, 0.42, 0.46),
    (0.62, 0.50, 0.52),
)
"""Muted colours, so that clutter is less conspicuous than ingredients."""


def _paint(rng: Rng) -> Colour:
    return jitter(rng, _PAINTS[int(rng.integers(len(_PAINTS)))], 0.06)


def _packet(rng: Rng) -> Sprite:
    """A carton with a band and lines of print."""
    canvas, colour = Canvas(), _paint(rng)
    left, right = rng.uniform(0.2, 0.3), rng.uniform(0.66, 0.74)
    canvas.paint(
        polygon([(right, 0.12), (right + 0.10, 0.08), (right + 0.10, 0.90), (right, 0.96)]),
        (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6),
    )
    canvas.paint(polygon([(left, 0.12), (right, 0.12), (right, 0.96), (left, 0.96)]), colour)
    canvas.paint(polygon([(left, 0.34), (right, 0.28), (right, 0.56), (left, 0.62)]), _paint(rng))
    for row in np.arange(0.70, 0.90, 0.045):
        canvas.paint(
            stroke(np.array([[left + 0.06, row], [right - rng.uniform(0.06, 0.2), row]]), 0.012), (0.30, 0.30, 0.32)
        )
    return canvas.cut()


def _jar(rng: Rng) -> Sprite:
    """A glass with content and a lid."""
    canvas, filling = Canvas(), _paint(rng)
    glass = polygon(
        [(0.26, 0.24), (0.74, 0.24), (0.77, 0.34), (0.77, 0.92), (0.73, 0.96), (0.27, 0.96), (0.23, 0.92), (0.23, 0.34)]
    )
    canvas.paint(glass * 0.75, (0.84, 0.89, 0.90))
    level = polygon([(0.25, rng.uniform(0.36, 0.6)), (0.75, 0.45), (0.75, 0.93), (0.25, 0.93)])
    canvas.paint(level, blend(filling, (filling[0] * 0.7, filling[1] * 0.7, filling[2] * 0.7), mottle(rng, 30) + 0.3))
    canvas.paint(
        polygon([(0.24, 0.10), (0.76, 0.10), (0.76, 0.25), (0.24, 0.25)]),
        lit(_paint(rng), np.zeros((SIDE, SIDE), np.float32)),
    )
    canvas.tint(stroke(np.array([[0.31, 0.30], [0.31, 0.90]]), 0.03), (1, 1, 1), 0.6)
    return canvas.cut()


def _bottle(rng: Rng) -> Sprite:
    canvas = Canvas()
    body = polygon(
        [
            (0.44, 0.06),
            (0.56, 0.06),
            (0.56, 0.30),
            (0.66, 0.42),
            (0.66, 0.94),
            (0.63, 0.97),
            (0.37, 0.97),
            (0.34, 0.94),
            (0.34, 0.42),
            (0.44, 0.30),
        ]
    )
    canvas.paint(
        body,
        lit(
            jitter(rng, ((0.16, 0.26, 0.18), (0.30, 0.18, 0.12), (0.60, 0.66, 0.70))[int(rng.integers(3))]),
            height_of(body),
            gloss=0.5,
            hardness=50,
        ),
    )
    canvas.paint(polygon([(0.345, 0.55), (0.655, 0.55), (0.655, 0.80), (0.345, 0.80)]), (0.88, 0.86, 0.80))
    canvas.paint(polygon([(0.43, 0.03), (0.57, 0.03), (0.57, 0.12), (0.43, 0.12)]), _paint(rng))
    return canvas.cut()


def _towel(rng: Rng) -> Sprite:
    """A folded cloth with stripes or checks."""
    canvas = Canvas()
    edge = np.linspace(0, 1, 24)
    wave = 0.012 * np.sin(edge * 18 + rng.uniform(0, 6))
    cloth = polygon(
        np.concatenate([np.stack([0.06 + 0.88 * edge, 0.14 + wave], 1), np.stack([0.94 - 0.88 * edge, 0.86 - wave], 1)])
    )
    x, y = grid()
    stripes = (np.sin(x * rng.uniform(30, 70)) > 0.4).astype(np.float32)
    checks = (np.sin(y * rng.uniform(30, 70)) > 0.4).astype(np.float32) * float(rng.random() < 0.6)
    pattern = blend(jitter(rng, (0.90, 0.88, 0.84)), _paint(rng), np.maximum(stripes, checks) * 0.8)
    canvas.paint(cloth, lit(pattern, mottle(rng, 6) * 9, ambient=0.6, gloss=0))
    return canvas.cut()


def _plate(rng: Rng) -> Sprite:
    canvas, colour = Canvas(), jitter(rng, (0.90, 0.90, 0.88))
    rim, well = ellipse(0.5, 0.5, 0.47, 0.34), ellipse(0.5, 0.5, 0.33, 0.23)
    canvas.paint(rim, lit(colour, height_of(rim, 0.12), gloss=0.2))
    canvas.tint(well, (0.80, 0.81, 0.82), 0.8)
    canvas.tint(ellipse(0.5, 0.507, 0.32, 0.22), colour, 0.9)
    return canvas.cut()


def _tin(rng: Rng) -> Sprite:
    canvas, colour = Canvas(), _paint(rng)
    x, _ = grid()
    steel = blend((0.55, 0.57, 0.60), (0.92, 0.93, 0.95), np.abs(np.sin(x * 9)))
    canvas.paint(
        polygon([(0.2, 0.14), (0.8, 0.14), (0.8, 0.90), (0.2, 0.90)]) + ellipse(0.5, 0.9, 0.3, 0.06) * 0, steel
    )
    canvas.paint(
        polygon([(0.2, 0.24), (0.8, 0.24), (0.8, 0.82), (0.2, 0.82)]),
        blend(colour, (0.1, 0.1, 0.1), (np.abs(x - 0.42) * 1.5) ** 2),
    )
    canvas.paint(ellipse(0.5, 0.14, 0.30, 0.055), (0.80, 0.82, 0.84))
    canvas.paint(ellipse(0.5, 0.52, 0.16, 0.14), (0.92, 0.90, 0.85))
    return canvas.cut()


BACKDROPS: tuple[Callable[[Rng], Backdrop], ...] = (_table, _fridge, _pantry)
UPRIGHT: tuple[Callable[[Rng], Sprite], ...] = (_packet, _jar, _bottle, _tin)
LYING: tuple[Callable[[Rng], Sprite], ...] = (_towel, _plate, _packet, _tin)


@lru_cache(maxsize=64)
def backdrop(kind: int, variant: int) -> Backdrop:
    """One of the `VARIANTS` backdrops of a kind; the same arguments give the same backdrop."""
    return BACKDROPS[kind](np.random.default_rng((11, kind, variant)))


@lru_cache(maxsize=64)
def clutter(kind: int, variant: int, *, upright: bool) -> Sprite:
    """One of the `VARIANTS` drawings of a thing without a label, upright or lying."""
    drawings = UPRIGHT if upright else LYING
    return drawings[kind](np.random.default_rng((13, kind, variant, int(upright))))
