"""Share of injected label errors in the top tenth of `savo dataset audit`. Peer: a random order.

5 % of the labels are swapped, shifted or deleted, a third of them each. Three models are trained, each on two thirds of
the photos with the errors in them, and judge the last third. On generated scenes, and on real photos where they are
(SAVO_TEST_PHOTOS). A dataset of 240 scenes takes some ten minutes on two cores.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.measurement import Figure, long_run
from savo_datasets.audit.injected_errors import FoundShares, inject_errors, share_found
from savo_datasets.audit.ranking import audit_labels
from savo_datasets.formats.reading import open_samples
from savo_datasets.formats.samples import Sample
from savo_demo.drawing.scenes import CLASSES, SceneSettings, draw_scenes
from savo_demo.plan import TrainingSettings
from savo_trainer.command_line.dataset.fold_models import FoldTraining, detect_by_folds, train_folds

__all__ = ["figures"]

PHOTOS = Path(os.environ.get("SAVO_TEST_PHOTOS", Path(__file__).parents[2] / "shared" / "data" / "epicureai12"))
TOP, WRONG, FOLDS = 0.1, 0.05, 3
SEEDS = (1, 2, 3) if long_run() else (1,)
SCENES = 240

_DEMO = TrainingSettings()
ON_SCENES = FoldTraining("yolov8n.yaml", _DEMO.epochs, _DEMO.image_size, "cpu", _DEMO.batch, _DEMO.extra)
WEIGHTS = Path(__file__).parents[2] / "shared" / "weights" / "yolov8n-coco.pt"
ON_PHOTOS = replace(
    ON_SCENES,
    architecture=str(WEIGHTS) if WEIGHTS.exists() else ON_SCENES.architecture,
    epochs=14,
    image_size=256,
    extra={**ON_SCENES.extra, "lr0": 0.002},
)
"""Fine-tuned from the base weights where they are: 150 photos are too few to start from nothing."""

Source = Callable[[Path], tuple[list[Sample], Sequence[str]]]
"""Writes or finds photos, given an empty folder: the samples and the classes."""


def figures() -> list[Figure]:
    """Rows of the results table: all errors, and each kind."""
    found = _rows("scenes", _scenes, ON_SCENES)
    return found + _rows("real photos", _real_photos, ON_PHOTOS) if PHOTOS.is_dir() else found


def _rows(name: str, source: Source, training: FoldTraining) -> list[Figure]:
    measured = [_measure(source, training, seed) for seed in SEEDS]
    total = sum(count for _, count in measured[0].by_kind.values())
    rows = [_figure(f"label errors in the top tenth, {name}", [shares.all for shares in measured], total)]
    for kind, (_, count) in measured[0].by_kind.items():
        of_kind = [shares.by_kind[kind][0] for shares in measured]
        rows.append(_figure(f"– {kind.value}, {name}", of_kind, count))
    return rows


def _figure(name: str, shares: Sequence[float], count: int) -> Figure:
    ratios = [share / TOP for share in shares]
    note = f"{count} errors, {len(shares)} seed{'s' if len(shares) > 1 else ''}; interval: least and greatest"
    ours, ratio = 100 * statistics.fmean(shares), statistics.fmean(ratios)
    return Figure(name, "%", ours, "a random order", 100 * TOP, ratio, min(ratios), max(ratios), note)


def _measure(source: Source, training: FoldTraining, seed: int) -> FoundShares:
    with tempfile.TemporaryDirectory() as folder:
        samples, classes = source(Path(folder) / "photos")
        injected = inject_errors(samples, classes, share=WRONG, seed=seed)
        models = train_folds(injected.samples, classes, FOLDS, training, Path(folder) / "folds")
        audited = audit_labels(injected.samples, detect_by_folds(injected.samples, models), classes)
    return share_found(audited.ranked, injected, top=TOP)


def _scenes(folder: Path) -> tuple[list[Sample], Sequence[str]]:
    folder.mkdir()
    samples = []
    for scene in draw_scenes(SCENES, 1, SceneSettings(width=320, height=240)):
        path = folder / f"{scene.name}.jpg"
        path.write_bytes(scene.jpeg)
        samples.append(Sample(path.name, scene.truth, path))
    return samples, CLASSES


def _real_photos(_folder: Path) -> tuple[list[Sample], Sequence[str]]:
    found = open_samples(PHOTOS)
    return list(found.samples), found.classes
