"""Drawings of ten ingredients. Each function takes a seeded random generator, so that variants differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from savo_demo.drawing.brushes import (
    SIDE,
    Array,
    Canvas,
    Sprite,
    bezier,
    blend,
    ellipse,
    grid,
    height_of,
    jitter,
    lit,
    mottle,
    polygon,
    ribbon,
    stroke,
)

Rng = np.random.Generator

VARIANTS = 6
"""Drawings of each ingredient; a scene rotates, scales, tilts and lights them."""


def banana(rng: Rng) -> Sprite:
    canvas, bend = Canvas(), rng.uniform(0.30, 0.48)
    centre = bezier([(0.10, 0.34), (0.46, 0.40 + bend), (0.92, 0.24)], 60)
    along = np.linspace(0, 1, 60)
    body = ribbon(
        centre, (0.018 + 0.092 * np.sin(np.pi * np.clip(along * 0.96 + 0.02, 0, 1)) ** 0.55).astype(np.float32)
    )
    mask = polygon(body)
    skin = blend(jitter(rng, (0.98, 0.82, 0.18)), (0.80, 0.74, 0.22), mottle(rng, 4) * 0.25)
    canvas.paint(stroke(np.array([[0.92, 0.25], [0.965, 0.17]]), 0.05), (0.42, 0.33, 0.12))
    canvas.paint(mask, lit(skin, height_of(mask), ambient=0.5, gloss=0.12))
    ridge = ribbon(centre, np.full(60, 0.001, np.float32))[:60] + np.array([0, 0.012], np.float32)
    canvas.tint(cv2.GaussianBlur(stroke(ridge[4:-4], 0.012), (0, 0), 2), (0.62, 0.47, 0.08), 0.55)
    x, y = grid()
    for tip_x, tip_y, size in ((0.09, 0.34, 0.045), (0.95, 0.21, 0.06)):
        canvas.tint(
            np.exp(-(((x - tip_x) ** 2 + (y - tip_y) ** 2) / size**2)).astype(np.float32), (0.27, 0.18, 0.07), 0.95
        )
    for _ in range(int(rng.integers(4, 14))):
        spot = centre[int(rng.integers(8, 52))] + rng.normal(0, 0.03, 2)
        canvas.tint(
            ellipse(float(spot[0]), float(spot[1]), rng.uniform(0.004, 0.012), 0.004, rng.uniform(0, 3)),
            (0.42, 0.26, 0.08),
            0.7,
        )
    return canvas.cut()


def tomato(rng: Rng) -> Sprite:
    canvas = Canvas()
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    lobes = 1 + 0.02 * np.cos(5 * angle + rng.uniform(0, 6)) + 0.012 * np.cos(3 * angle + rng.uniform(0, 6))
    mask = polygon(
        np.stack([0.5 + 0.40 * lobes * np.cos(angle), 0.54 + rng.uniform(0.33, 0.38) * lobes * np.sin(angle)], 1)
    )
    skin = blend(jitter(rng, (0.86, 0.13, 0.09)), (0.93, 0.34, 0.10), mottle(rng, 3) * 0.35)
    canvas.paint(mask, lit(skin, height_of(mask), ambient=0.38, gloss=0.55, hardness=42))
    middle, green = (0.5 + rng.uniform(-0.04, 0.04), 0.33), jitter(rng, (0.20, 0.46, 0.14))
    canvas.tint(cv2.GaussianBlur(ellipse(*middle, 0.17, 0.10), (0, 0), 12), (0.45, 0.05, 0.04), 0.6)
    for sepal in np.linspace(0, 2 * np.pi, 6, endpoint=False) + rng.uniform(0, 1):
        tip = (middle[0] + 0.22 * np.cos(sepal), middle[1] + 0.13 * np.sin(sepal) - 0.02)
        leaf = polygon(
            ribbon(
                bezier([middle, (middle[0] + 0.1 * np.cos(sepal), middle[1] + 0.03 * np.sin(sepal) - 0.05), tip], 16),
                np.linspace(0.04, 0.003, 16).astype(np.float32),
            )
        )
        canvas.paint(leaf, lit(green, height_of(leaf), gloss=0.1))
    stem = stroke(
        bezier([middle, (middle[0] + 0.01, middle[1] - 0.08), (middle[0] + 0.06, middle[1] - 0.14)], 12), 0.04
    )
    canvas.paint(stem, lit((0.28, 0.50, 0.16), height_of(stem)))
    return canvas.cut()


def carrot(rng: Rng) -> Sprite:
    canvas = Canvas()
    for _ in range(16):
        tip = (0.20 + rng.uniform(-0.11, 0.11), 0.20 + rng.uniform(-0.11, 0.11))
        frond = bezier([(0.34, 0.34), (0.27 + rng.uniform(-0.06, 0.06), 0.27 + rng.uniform(-0.06, 0.06)), tip], 14)
        green = jitter(rng, (0.22, 0.55, 0.17), 0.08)
        canvas.paint(stroke(frond, 0.022), green)
        for point in frond[5::2]:
            canvas.paint(
                ellipse(float(point[0]), float(point[1]), 0.042, 0.020, rng.uniform(0, 3.1)), jitter(rng, green, 0.05)
            )
    bend = rng.uniform(-0.06, 0.06)
    centre = bezier([(0.30, 0.30), (0.62 + bend, 0.60 - bend), (0.95, 0.95)], 60)
    along = np.linspace(0, 1, 60)
    widths = 0.165 * (1 - along) ** 0.62 * np.clip(along / 0.05 + 0.45, 0, 1) ** 0.5 + 0.004
    mask = polygon(ribbon(centre, widths.astype(np.float32)))
    skin = blend(jitter(rng, (0.95, 0.49, 0.08)), (0.84, 0.36, 0.05), mottle(rng, 7) * 0.3)
    canvas.paint(mask, lit(skin, height_of(mask), ambient=0.45, gloss=0.2))
    across = np.array([0.707, -0.707], np.float32)
    for place in rng.uniform(0.05, 0.85, 11):
        at, reach = centre[int(place * 59)], float(widths[int(place * 59)])
        start = at + across * reach * rng.choice([-0.95, 0.95])
        canvas.tint(
            stroke(np.stack([start, start + (at - start) * rng.uniform(0.5, 1.1)]), 0.009), (0.58, 0.24, 0.03), 0.65
        )
    return canvas.cut()


def egg(rng: Rng) -> Sprite:
    canvas = Canvas()
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    across = 0.31 * (1 - 0.16 * np.sin(angle)) * np.cos(angle)
    mask = polygon(np.stack([0.5 + across, 0.53 - 0.41 * np.sin(angle)], 1))
    shells = ((0.93, 0.76, 0.58), (0.86, 0.64, 0.45), (0.95, 0.82, 0.68), (0.78, 0.54, 0.37))
    shell = blend(jitter(rng, shells[int(rng.integers(len(shells)))], 0.02), (0.70, 0.48, 0.33), mottle(rng, 5) * 0.12)
    canvas.paint(mask, lit(shell, height_of(mask), ambient=0.42, gloss=0.16, hardness=9))
    for _ in range(int(rng.integers(0, 40))):
        canvas.tint(ellipse(rng.uniform(0.25, 0.75), rng.uniform(0.2, 0.9), 0.005, 0.004), (0.55, 0.36, 0.24), 0.6)
    return canvas.cut()


def broccoli(rng: Rng) -> Sprite:
    canvas, pale = Canvas(), jitter(rng, (0.62, 0.76, 0.40))
    stalk = polygon([(0.40, 0.52), (0.60, 0.52), (0.61, 0.80), (0.64, 0.94), (0.37, 0.94), (0.40, 0.80)])
    for left, top in ((0.24, 0.50), (0.76, 0.50)):
        branch = stroke(bezier([(0.5, 0.80), (left * 0.6 + 0.2, 0.66), (left, top)], 20), 0.10)
        canvas.paint(branch, lit(pale, height_of(branch)))
    canvas.paint(stalk, lit(pale, height_of(stalk), ambient=0.5, gloss=0.08))
    canvas.paint(ellipse(0.505, 0.935, 0.135, 0.035), (0.80, 0.86, 0.60))
    dark = jitter(rng, (0.16, 0.40, 0.13))
    heads = [(0.5 + 0.33 * np.cos(a), 0.40 - 0.20 * np.sin(a)) for a in np.linspace(-0.25, np.pi + 0.25, 8)]
    heads += [(0.33, 0.36), (0.67, 0.36), (0.5, 0.30), (0.42, 0.46), (0.58, 0.46)]
    for x, y in heads:
        _floret(canvas, rng, (x + rng.normal(0, 0.012), y + rng.normal(0, 0.012)), jitter(rng, dark, 0.03))
    return canvas.cut()


def _floret(canvas: Canvas, rng: Rng, at: tuple[float, float], green: tuple[float, float, float]) -> None:
    """A part of a broccoli head: a ball with many small buds."""
    ball = ellipse(at[0], at[1], 0.125, 0.115)
    canvas.paint(cv2.GaussianBlur(ball, (0, 0), 5) * (canvas.alpha > 0.5) * 0.55, (0.04, 0.13, 0.04))
    buds = mottle(rng, 60) * 1.0
    canvas.paint(
        ball,
        lit(
            blend(green, (0.42, 0.66, 0.28), buds * 0.55), height_of(ball, 0.99) + buds * 2.2, ambient=0.34, gloss=0.05
        ),
    )


def milk(rng: Rng) -> Sprite:
    """A gable-top carton: front, darker side, roof, a blue wave and a text."""
    canvas = Canvas()
    blue = jitter(rng, ((0.10, 0.38, 0.78), (0.08, 0.50, 0.72), (0.13, 0.30, 0.66))[int(rng.integers(3))], 0.03)
    white = (0.96, 0.97, 0.97)
    x, _ = grid()
    canvas.paint(polygon([(0.62, 0.30), (0.80, 0.26), (0.80, 0.92), (0.62, 0.97)]), (0.70, 0.73, 0.77))
    canvas.paint(
        polygon([(0.62, 0.72), (0.80, 0.66), (0.80, 0.92), (0.62, 0.97)]),
        (blue[0] * 0.6, blue[1] * 0.6, blue[2] * 0.62),
    )
    canvas.paint(
        polygon([(0.22, 0.30), (0.62, 0.30), (0.62, 0.97), (0.22, 0.97)]),
        blend(white, (0.82, 0.85, 0.88), (0.5 - x) * 1.6),
    )
    canvas.paint(polygon([(0.62, 0.30), (0.80, 0.26), (0.72, 0.14)]), (0.60, 0.64, 0.69))
    canvas.paint(polygon([(0.22, 0.30), (0.62, 0.30), (0.70, 0.13), (0.32, 0.13)]), (blue[0], blue[1], blue[2]))
    canvas.paint(
        polygon([(0.315, 0.045), (0.715, 0.045), (0.72, 0.14), (0.31, 0.14)]),
        lit((0.88, 0.91, 0.94), np.zeros((SIDE, SIDE), np.float32)),
    )
    canvas.tint(stroke(np.array([[0.315, 0.135], [0.715, 0.135]]), 0.006), (0.4, 0.45, 0.5), 0.7)
    wave = np.linspace(0.22, 0.62, 30)
    top = 0.73 + 0.028 * np.sin((wave - 0.22) * 16 + rng.uniform(0, 6))
    canvas.paint(polygon([*zip(wave, top, strict=True), (0.62, 0.97), (0.22, 0.97)]), blue)
    canvas.paint(_text_mask("MILK", (0.245, 0.53), 1.72, 5), blue)
    canvas.paint(
        polygon([(0.42, 0.575), (0.455, 0.63), (0.445, 0.665), (0.42, 0.678), (0.395, 0.665), (0.385, 0.63)]), blue
    )
    canvas.paint(_text_mask("1 L", (0.36, 0.88), 1.1, 3), white)
    canvas.tint(stroke(np.array([[0.62, 0.30], [0.62, 0.97]]), 0.006), (0.45, 0.5, 0.56), 0.6)
    return canvas.cut()


def _text_mask(text: str, at: tuple[float, float], size: float, weight: int) -> Array:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(
        mask, text, (round(at[0] * SIDE), round(at[1] * SIDE)), cv2.FONT_HERSHEY_SIMPLEX, size, 255, weight, cv2.LINE_AA
    )
    return mask.astype(np.float32) / 255


def cheese(rng: Rng) -> Sprite:
    """A wedge with holes: lit top, shaded cut face, orange rind at the back."""
    canvas, yellow = Canvas(), jitter(rng, (0.98, 0.79, 0.27), 0.03)
    point, left, right, low = (0.06, 0.58), (0.66, 0.24), (0.95, 0.42), 0.32
    canvas.paint(polygon([right, left, (left[0], left[1] + low), (right[0], right[1] + low)]), (0.80, 0.46, 0.12))
    face = polygon([point, right, (right[0], right[1] + low), (point[0], point[1] + low * 0.86)])
    canvas.paint(
        face,
        blend((yellow[0] * 0.92, yellow[1] * 0.88, yellow[2] * 0.8), (0.86, 0.60, 0.14), mottle(rng, 4) * 0.2 + 0.1),
    )
    canvas.paint(polygon([point, left, right]), blend((1.0, 0.88, 0.48), yellow, mottle(rng, 4) * 0.3 + 0.2))
    canvas.tint(stroke(np.array([left, right]), 0.022), (0.86, 0.50, 0.14), 0.9)
    canvas.tint(stroke(np.array([right, (right[0], right[1] + low)]), 0.018), (0.86, 0.50, 0.14), 0.9)
    for place in (0.17, 0.38, 0.58, 0.80):
        top = point[1] + (right[1] - point[1]) * place
        y = top + low * rng.uniform(0.30, 0.68)
        _hole(canvas, face, (0.06 + 0.89 * place + rng.uniform(-0.03, 0.03), y), rng.uniform(0.035, 0.068))
    for x, y in ((0.42, 0.47), (0.66, 0.36), (0.75, 0.43)):
        _hole(canvas, polygon([point, left, right]), (x + rng.uniform(-0.03, 0.03), y), rng.uniform(0.022, 0.038), 0.55)
    return canvas.cut()


def _hole(canvas: Canvas, within: Array, at: tuple[float, float], size: float, flat: float = 0.9) -> None:
    canvas.tint(ellipse(at[0], at[1], size, size * flat) * within, (0.76, 0.50, 0.10), 1.0)
    canvas.tint(
        ellipse(at[0] + size * 0.16, at[1] + size * 0.2 * flat, size * 0.82, size * 0.76 * flat) * within,
        (0.91, 0.67, 0.20),
        1.0,
    )


def avocado(rng: Rng) -> Sprite:
    """Half an avocado with its stone."""
    canvas = Canvas()
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    neck = rng.uniform(0.30, 0.40)
    radius = 0.33 * (1 - neck * np.clip(np.sin(angle), 0, 1) ** 2 * 0.5)
    outline = np.stack([radius * np.cos(angle), -np.where(np.sin(angle) > 0, 0.50, 0.34) * np.sin(angle)], 1)
    middle = np.array([0.5, 0.58])
    skin = polygon(outline + middle)
    canvas.paint(
        skin, lit(blend((0.15, 0.25, 0.09), (0.27, 0.38, 0.14), mottle(rng, 40)), height_of(skin, 0.3), gloss=0.15)
    )
    flesh = polygon(outline * 0.90 + middle)
    depth = cv2.distanceTransform((flesh > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / SIDE
    canvas.paint(
        flesh, blend(jitter(rng, (0.58, 0.74, 0.25), 0.03), (0.95, 0.93, 0.62), np.clip(depth / 0.10, 0, 1) ** 0.7)
    )
    size = rng.uniform(0.135, 0.16)
    canvas.tint(cv2.GaussianBlur(ellipse(0.5, 0.645, size * 1.15, size * 1.15), (0, 0), 4), (0.72, 0.66, 0.30), 0.7)
    stone = ellipse(0.5, 0.64, size, size * 1.04)
    canvas.paint(
        stone,
        lit(
            blend(jitter(rng, (0.48, 0.27, 0.12)), (0.33, 0.17, 0.07), mottle(rng, 8) * 0.4),
            height_of(stone),
            gloss=0.4,
            hardness=30,
        ),
    )
    return canvas.cut()


def lemon(rng: Rng) -> Sprite:
    canvas = Canvas()
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    ends = np.exp(-((np.abs(np.cos(angle)) - 1) ** 2) / 0.004)
    radius = 1 + 0.20 * ends
    mask = polygon(np.stack([0.5 + 0.35 * radius * np.cos(angle), 0.53 + rng.uniform(0.26, 0.29) * np.sin(angle)], 1))
    skin = blend(jitter(rng, (0.97, 0.87, 0.12), 0.03), (0.85, 0.80, 0.10), mottle(rng, 4) * 0.3)
    pores = mottle(rng, 70)
    canvas.paint(mask, lit(skin, height_of(mask) + pores * 0.7, ambient=0.46, gloss=0.32, hardness=20))
    canvas.tint(ellipse(0.90, 0.53, 0.03, 0.035), (0.50, 0.55, 0.12), 0.6)
    for side in (-1, 1):
        vein = bezier([(0.10, 0.50), (0.06, 0.36), (0.16 + 0.09 * side, 0.26 - 0.03 * side)], 20)
        leaf = polygon(ribbon(vein, (0.055 * np.sin(np.linspace(0, np.pi, 20)) + 0.003).astype(np.float32)))
        canvas.paint(leaf, lit(jitter(rng, (0.20, 0.52, 0.16)), height_of(leaf), gloss=0.2))
        canvas.tint(stroke(vein, 0.006), (0.45, 0.70, 0.32), 0.8)
    return canvas.cut()


def bread(rng: Rng) -> Sprite:
    """The end of a loaf: a slice with its crust, and the loaf behind it."""
    canvas = Canvas()
    slice_outline = np.array(
        [
            (0.16, 0.92),
            (0.15, 0.52),
            (0.07, 0.42),
            (0.08, 0.30),
            (0.18, 0.22),
            (0.36, 0.19),
            (0.54, 0.22),
            (0.64, 0.30),
            (0.65, 0.42),
            (0.57, 0.52),
            (0.56, 0.92),
        ],
        np.float32,
    )
    smooth = _rounded(slice_outline)
    for back in np.linspace(1, 0, 16):
        loaf = polygon(smooth + np.array([0.30 * back, -0.09 * back], np.float32))
        brown = jitter(rng, (0.62 - 0.10 * back, 0.36 - 0.07 * back, 0.14 - 0.03 * back), 0.012)
        canvas.paint(loaf, lit(brown, height_of(loaf, 0.5), ambient=0.5, gloss=0.1) if back in (1.0, 0.0) else brown)
    top = polygon(smooth + np.array([0.15, -0.07], np.float32)) * (1 - polygon(smooth))
    canvas.tint(cv2.GaussianBlur(top, (0, 0), 10), (0.80, 0.52, 0.22), 0.35)
    crumb = polygon((smooth - smooth.mean(0)) * 0.89 + smooth.mean(0))
    canvas.paint(crumb, blend(jitter(rng, (0.96, 0.86, 0.66), 0.02), (0.86, 0.70, 0.46), mottle(rng, 30) * 0.35 + 0.1))
    for _ in range(46):
        canvas.tint(
            ellipse(
                rng.uniform(0.17, 0.57),
                rng.uniform(0.26, 0.88),
                rng.uniform(0.004, 0.014),
                rng.uniform(0.004, 0.010),
                rng.uniform(0, 3),
            )
            * crumb,
            (0.76, 0.58, 0.34),
            0.6,
        )
    return canvas.cut()


def _rounded(outline: Array) -> Array:
    """Cut the corners of an outline three times (Chaikin)."""
    for _ in range(3):
        ahead = np.roll(outline, -1, axis=0)
        outline = np.stack([outline * 0.75 + ahead * 0.25, outline * 0.25 + ahead * 0.75], 1).reshape(-1, 2)
    return outline.astype(np.float32)


DRAWINGS: dict[str, Callable[[Rng], Sprite]] = {
    "avocado": avocado,
    "banana": banana,
    "bread": bread,
    "broccoli": broccoli,
    "carrot": carrot,
    "cheese": cheese,
    "egg": egg,
    "lemon": lemon,
    "milk": milk,
    "tomato": tomato,
}
"""Drawing function by catalogue label. The order is the class order of `data.yaml`."""

UPRIGHT = frozenset({"bread", "broccoli", "cheese", "milk"})
"""Labels of things that stand upright: rotated by a few degrees only."""

WITH_TEXT = frozenset({"milk"})
"""Labels of drawings with text, which are never mirrored."""


@lru_cache(maxsize=256)
def drawing_of(label: str, variant: int) -> Sprite:
    """One of the `VARIANTS` drawings of an ingredient; the same arguments give the same drawing."""
    return DRAWINGS[label](np.random.default_rng((list(DRAWINGS).index(label), variant, 77)))
