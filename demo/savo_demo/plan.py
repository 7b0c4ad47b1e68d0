"""What one run of the demo will do: the numbers, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import labelled_photos, read_classes
from savo_demo.drawing.scenes import Flaw
from savo_providers.catalogue import PROVIDERS

FEWEST_PHOTOS = 60
"""Real photos under which there is no use in splitting and training."""

REFUSED_AS: Mapping[Flaw, str] = {
    "blurred": "blurred",
    "dark": "dark",
    "duplicate": "duplicate",
    "broken": "upload-truncated",
}
"""The reason under which the product counts each flaw that the demo plants."""

_OURS = ("SAVO_", "R2_", "DEMO_")
_KEYS = frozenset(
    {"PORT", "SMTP_URL", "RAY_ADDRESS", *(variable for provider in PROVIDERS for variable in provider.variables)}
)


class PlanError(Exception):
    """A variable that makes no sense; the message names it, its value and what is allowed."""


@dataclass(frozen=True)
class Recipe:
    """How the demo trains: small and short, because two cores and a minute are all it takes."""

    epochs: int = 28
    warm_epochs: int = 12
    """When it goes on from the champion."""
    batch: int = 8
    image_size: int = 128
    extra: Mapping[str, Any] = field(
        default_factory=lambda: {
            "nbs": 8,
            "optimizer": "AdamW",
            "lr0": 0.003,
            "warmup_epochs": 1,
            "warmup_bias_lr": 0.0,
            "mosaic": 0.0,
            "scale": 0.3,
            "cache": "ram",
            "val": False,
            "patience": 0,
        }
    )


@dataclass(frozen=True)
class Plan:
    folder: Path
    """Everything of this run; made anew each time."""
    photos: Path | None = None
    """A YOLO-form folder of real photos in place of drawn scenes."""
    gate: float | None = None
    train: bool = True
    keep: bool = False
    seed: int = 11
    turn_scans: int = 210
    """Good photos of each turn."""
    enough: float = 0.95
    """Share of a turn's good photos that calls for the training: look-alikes of people in different splits become no samples."""
    photos_a_user: int = 1
    flaws: Mapping[Flaw, int] = field(default_factory=lambda: {"blurred": 7, "dark": 5, "duplicate": 6, "broken": 4})
    guest_photos: int = 160
    """Photos of people who do not give them for training; shared by `most_guests` people during the rollout."""
    most_guests: int = 4000
    rollout_seconds: float = 300.0
    at_once: int = 5
    latency_scale: float = 0.1
    min_confirmed: int = 10
    recipe: Recipe = Recipe()

    @property
    def threshold(self) -> int:
        return int(self.enough * self.turn_scans)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def truth(self) -> Path:
        return self.folder / "truth"

    @property
    def network(self) -> Path:
        """Its description is written before the start (`network.py`)."""
        return self.folder / "small-yolov8.yaml"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """For `savo up`. Settings and keys of the person who runs it stay out: a demo writes into nobody's bucket."""
        own = {name: value for name, value in inherited.items() if not name.startswith(_OURS) and name not in _KEYS}
        return own | self._settings() | self._gate_settings()

    def _settings(self) -> dict[str, str]:
        recipe = self.recipe
        return {
            "SAVO_COLLECT_TRAINING_DATA": "true",
            "SAVO_USE_CUSTOM_VISION": "true",
            "SAVO_RATE_LIMIT_PER_MINUTE": "0",
            "SAVO_TRAINING_THRESHOLD": str(self.threshold if self.train else 1_000_000),
            "SAVO_TRAIN_MODEL": str(self.network),
            "SAVO_TRAIN_EPOCHS": str(recipe.epochs),
            "SAVO_TRAIN_WARM_EPOCHS": str(recipe.warm_epochs),
            "SAVO_TRAIN_BATCH": str(recipe.batch),
            "SAVO_TRAIN_IMGSZ": str(recipe.image_size),
            "SAVO_TRAIN_DEVICE": "cpu",
            "SAVO_TRAIN_EXTRA": json.dumps(dict(recipe.extra)),
            "SAVO_ROLLOUT_MIN_CONFIRMED": str(self.min_confirmed),
            "SAVO_ROLLOUT_MIN_DAYS_PER_STEP": "0",
        }

    def _gate_settings(self) -> dict[str, str]:
        if self.gate is None:
            return {}
        return {"SAVO_GATE_MAP50": str(self.gate), "SAVO_GATE_MAP50_LOWER": str(round(max(0.0, self.gate - 0.1), 4))}

    def shortcuts(self) -> list[str]:
        """What is smaller or faster here than in earnest: to be said aloud."""
        notes = [
            f"the stand-in answers in {self.latency_scale:.0%} of a provider's time",
            f"training starts at {self.threshold} samples, not 10,000",
            f"a rollout step needs {self.min_confirmed} confirmed scans in each arm and no days, not 200 and 7; its gates are the real ones",
        ]
        return notes + ([f"the gate is lowered to mAP@0.5 ≥ {self.gate}"] if self.gate is not None else [])


def plan_from(environment: Mapping[str, str], *, folder: Path | None = None) -> Plan:
    """The plan that `DEMO_*` asks for. Raises `PlanError`."""
    photos = Path(value).expanduser() if (value := environment.get("DEMO_PHOTOS")) else None
    if photos is not None and not (photos / "images").is_dir():
        raise PlanError(
            f"DEMO_PHOTOS={str(photos)!r} is no folder in YOLO form: images/, labels/ and data.yaml are needed"
        )
    base = folder or Path(environment.get("SAVO_DATA_DIR") or ".savo") / "demo"
    plan = Plan(
        folder=base.resolve(),
        photos=photos,
        gate=_gate(environment),
        train=_switch(environment, "DEMO_TRAIN", True),
        keep=_switch(environment, "DEMO_KEEP", False),
    )
    return plan if photos is None else _for_real_photos(plan, _labelled(photos))


def _for_real_photos(plan: Plan, photos: int) -> Plan:
    """All of them in the first turn, but for those that are spoilt. More in each photo: longer training, larger input."""
    flaws: dict[Flaw, int] = {"blurred": 4, "dark": 4, "duplicate": 4, "broken": 4}
    good = photos - (sum(flaws.values()) - flaws["duplicate"])
    recipe = replace(plan.recipe, epochs=40, image_size=192)
    return replace(
        plan,
        turn_scans=good,
        enough=0.9,
        photos_a_user=5,
        recipe=recipe,
        flaws=flaws,
        most_guests=4000,
        rollout_seconds=180.0,
    )


def _labelled(folder: Path) -> int:
    """How many photos have something in them. Raises `PlanError`."""
    try:
        count = sum(bool(photo.truth) for photo in labelled_photos(folder, read_classes(folder)))
    except DatasetError as error:
        raise PlanError(f"DEMO_PHOTOS={str(folder)!r}: {error}") from error
    if count < FEWEST_PHOTOS:
        raise PlanError(
            f"DEMO_PHOTOS={str(folder)!r} holds {count} labelled photos; at least {FEWEST_PHOTOS} are needed"
        )
    return count


def _gate(environment: Mapping[str, str]) -> float | None:
    value = environment.get("DEMO_GATE")
    if not value:
        return None
    try:
        gate = float(value)
    except ValueError:
        gate = -1.0
    if not 0 <= gate <= 1:
        raise PlanError(f"DEMO_GATE={value!r} makes no sense: a number from 0 to 1 is allowed")
    return gate


def _switch(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").strip().lower()
    if value in {"", "0", "1", "true", "false"}:
        return default if value == "" else value in {"1", "true"}
    raise PlanError(f"{name}={value!r} makes no sense: 0 or 1 is allowed")
