"""How hard it is to find the ingredients of a generated scene: a row of ranges and probabilities for each level."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["DIFFICULTIES", "MEDIUM", "Difficulty", "Level"]

Range = tuple[float, float]


class Level(StrEnum):
    """Names of the difficulties."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


@dataclass(frozen=True)
class Difficulty:
    """Ranges of what a scene draws at random. Sizes are fractions of the photo's width, light is 1 on average."""

    max_items: int
    clutter: tuple[int, int]
    """Least and most things without a label behind the ingredients."""
    in_front: int
    """Most things without a label before the ingredients."""
    in_front_probability: float
    in_front_size: Range
    clearance: float
    """Distance to other ingredients that a place must have, in sizes. Below about 0.6 they overlap visibly."""
    size: Range
    shelf_size: Range
    light: Range
    slope: float
    """Largest difference of the light from side to side."""
    shadow_probability: float
    shadow: Range
    softness: float
    """Largest σ of the blur, in pixels."""
    grain: Range
    """σ of the noise, of 255."""


MEDIUM = Difficulty(
    max_items=4,
    clutter=(1, 3),
    in_front=1,
    in_front_probability=0.30,
    in_front_size=(0.10, 0.18),
    clearance=0.8,
    size=(0.26, 0.40),
    shelf_size=(0.26, 0.33),
    light=(0.80, 1.10),
    slope=0.22,
    shadow_probability=0.35,
    shadow=(0.12, 0.36),
    softness=0.9,
    grain=(2.0, 6.0),
)
"""The scenes of the demo."""

DIFFICULTIES = {
    Level.EASY: Difficulty(
        max_items=2,
        clutter=(0, 1),
        in_front=0,
        in_front_probability=0.0,
        in_front_size=(0.10, 0.18),
        clearance=1.0,
        size=(0.32, 0.42),
        shelf_size=(0.28, 0.33),
        light=(0.95, 1.05),
        slope=0.08,
        shadow_probability=0.0,
        shadow=(0.0, 0.0),
        softness=0.4,
        grain=(1.0, 3.0),
    ),
    Level.MEDIUM: MEDIUM,
    Level.HARD: Difficulty(
        max_items=7,
        clutter=(3, 6),
        in_front=3,
        in_front_probability=0.6,
        in_front_size=(0.10, 0.20),
        clearance=0.45,
        size=(0.13, 0.28),
        shelf_size=(0.13, 0.26),
        light=(0.70, 1.0),
        slope=0.30,
        shadow_probability=0.7,
        shadow=(0.20, 0.50),
        softness=1.8,
        grain=(4.0, 12.0),
    ),
}
