"""Plan of a demo run: its sizes and settings, from defaults and the `DEMO_*` variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import labelled_photos, read_classes
from savo_demo.drawing.scenes import Defect
from savo_providers.catalogue import PROVIDERS

MIN_PHOTOS = 60
"""Fewest real photos that can be split and trained on."""

REFUSED_AS: Mapping[Defect, str] = {
    "blurred": "blurred",
    "dark": "dark",
    "duplicate": "duplicate",
    "broken": "upload-truncated",
}
"""The reason under which the product counts each defect."""

_OWN_PREFIXES = ("SAVO_", "R2_", "DEMO_")
_KEYS = frozenset(
    {"PORT", "SMTP_URL", "RAY_ADDRESS", *(variable for provider in PROVIDERS for variable in provider.variables)}
)


class PlanError(Exception):
    """An invalid variable. The message names it, its value and what is allowed."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a training run that takes a minute on two cores."""

    epochs: int = 28
    warm_epochs: int = 12
    """Epochs of a run that starts from the champion's weights."""
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
    """What a demo run does."""

    folder: Path
    """Folder of the run, which is deleted at its start."""
    photos: Path | None = None
    """YOLO folder of real photos to use instead of generated scenes."""
    gate: float | None = None
    train: bool = True
    keep: bool = False
    seed: int = 11
    scans_per_round: int = 210
    """Photos without a defect in each round."""
    threshold_share: float = 0.95
    """Share of a round's photos that starts a training. Below 1, because near-duplicates across splits are rejected."""
    photos_per_user: int = 1
    defects: Mapping[Defect, int] = field(
        default_factory=lambda: {"blurred": 7, "dark": 5, "duplicate": 6, "broken": 4}
    )
    non_consenting_photos: int = 160
    """Photos for the rollout without consent to training; `max_non_consenting_users` users share them."""
    max_non_consenting_users: int = 4000
    rollout_seconds: float = 300.0
    at_once: int = 5
    latency_scale: float = 0.1
    min_confirmed: int = 10
    training: TrainingSettings = TrainingSettings()

    @property
    def threshold(self) -> int:
        return int(self.threshold_share * self.scans_per_round)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def truth(self) -> Path:
        return self.folder / "truth"

    @property
    def network(self) -> Path:
        """YAML file that `network.py` writes before the start."""
        return self.folder / "small-yolov8.yaml"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Environment of `savo up`, without the caller's settings and keys, so that no real bucket is used."""
        own = {
            name: value for name, value in inherited.items() if not name.startswith(_OWN_PREFIXES) and name not in _KEYS
        }
        return own | self._settings() | self._gate_settings()

    def _settings(self) -> dict[str, str]:
        training = self.training
        return {
            "SAVO_COLLECT_TRAINING_DATA": "true",
            "SAVO_USE_CUSTOM_VISION": "true",
            "SAVO_HTTP_HOST": "127.0.0.1",
            "SAVO_RATE_LIMIT_PER_MINUTE": "0",
            "SAVO_TRAINING_THRESHOLD": str(self.threshold if self.train else 1_000_000),
            "SAVO_TRAIN_MODEL": str(self.network),
            "SAVO_TRAIN_EPOCHS": str(training.epochs),
            "SAVO_TRAIN_WARM_EPOCHS": str(training.warm_epochs),
            "SAVO_TRAIN_BATCH": str(training.batch),
            "SAVO_TRAIN_IMGSZ": str(training.image_size),
            "SAVO_TRAIN_DEVICE": "cpu",
            "SAVO_TRAIN_EXTRA": json.dumps(dict(training.extra)),
            "SAVO_ROLLOUT_MIN_CONFIRMED": str(self.min_confirmed),
            "SAVO_ROLLOUT_MIN_DAYS_PER_STEP": "0",
        }

    def _gate_settings(self) -> dict[str, str]:
        if self.gate is None:
            return {}
        return {"SAVO_GATE_MAP50": str(self.gate), "SAVO_GATE_MAP50_LOWER": str(round(max(0.0, self.gate - 0.1), 4))}

    def shortcuts(self) -> list[str]:
        """What is smaller or faster than in production; the demo prints it."""
        notes = [
            f"the stand-in answers in {self.latency_scale:.0%} of a provider's time",
            f"training starts at {self.threshold} samples, not 10,000",
            f"a rollout step needs {self.min_confirmed} confirmed scans in each arm and no days, not 200 and 7 days; "
            "its gates are unchanged",
        ]
        return notes + ([f"the gate is lowered to mAP@0.5 ≥ {self.gate}"] if self.gate is not None else [])


def plan_from(environment: Mapping[str, str], *, folder: Path | None = None) -> Plan:
    """The plan of the `DEMO_*` variables. Raises `PlanError`."""
    photos = Path(value).expanduser() if (value := environment.get("DEMO_PHOTOS")) else None
    if photos is not None and not (photos / "images").is_dir():
        raise PlanError(f"DEMO_PHOTOS={str(photos)!r} is not a YOLO folder: images/, labels/ and data.yaml are needed")
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
    """All photos are in the first round, except those that get a defect. Training is longer, its input larger."""
    defects: dict[Defect, int] = {"blurred": 4, "dark": 4, "duplicate": 4, "broken": 4}
    good = photos - (sum(defects.values()) - defects["duplicate"])
    training = replace(plan.training, epochs=40, image_size=192)
    return replace(
        plan,
        scans_per_round=good,
        threshold_share=0.9,
        photos_per_user=5,
        training=training,
        defects=defects,
        max_non_consenting_users=4000,
        rollout_seconds=180.0,
    )


def _labelled(folder: Path) -> int:
    """The number of photos with a box. Raises `PlanError`."""
    try:
        count = sum(bool(photo.truth) for photo in labelled_photos(folder, read_classes(folder)))
    except DatasetError as error:
        raise PlanError(f"DEMO_PHOTOS={str(folder)!r}: {error}") from error
    if count < MIN_PHOTOS:
        raise PlanError(f"DEMO_PHOTOS={str(folder)!r} holds {count} labelled photos; at least {MIN_PHOTOS} are needed")
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
        raise PlanError(f"DEMO_GATE={value!r} is invalid; use a mAP@0.5 from 0 to 1")
    return gate


def _switch(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").strip().lower()
    if value in {"", "0", "1", "true", "false"}:
        return default if value == "" else value in {"1", "true"}
    raise PlanError(f"{name}={value!r} is invalid; use 0, 1, true or false")
