"""JSON documents in the object store that more than one service reads, and the keys they stand under."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from savo_contracts.envelope import Message, Moment, ScanId, Sha256, Subject
from savo_contracts.geometry import BoundingBox, Fraction
from savo_contracts.open_values import OpenValue
from savo_contracts.samples import Split
from savo_contracts.scans import StorageLocation
from savo_contracts.training import Comparison, Evaluation

CLASSES_KEY = "samples/classes.json"

PLAIN_EXPORT = "model.plain.onnx"
"""The export that a version's model.onnx was made from: for engines that optimise graphs themselves."""

EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
"""Media types a photo may be stored in, and the ending of its key."""


def scan_photo_key(sha256: str, media_type: str) -> str:
    return f"scans/{sha256[:2]}/{sha256}.{EXTENSIONS[media_type]}"


def sample_image_key(sha256: str, media_type: str) -> str:
    return f"samples/images/{sha256}.{EXTENSIONS[media_type]}"


def sample_labels_key(sha256: str) -> str:
    return f"samples/labels/{sha256}.txt"


def sample_meta_key(sha256: str) -> str:
    return f"samples/meta/{sha256}.json"


def manifest_key(dataset_version: str) -> str:
    return f"datasets/{dataset_version}/manifest.jsonl"


def model_key(version: str, name: str) -> str:
    """`name` is one of model.onnx, model.plain.onnx, weights.pt, card.md, report.json, classes.json."""
    return f"models/ingredients/{version}/{name}"


def alias_key(alias: str) -> str:
    """`alias` is champion or challenger."""
    return f"models/ingredients/aliases/{alias}.json"


class LabelledBox(Message):
    """One line of a label file, with what the line itself cannot hold."""

    class_id: int = Field(ge=0, description="Append-only id of samples/classes.json.")
    label: str
    bbox: BoundingBox
    box_source: OpenValue = Field(
        description="Who drew the box: a value of `ServedBy` or `BoxSource`, or one of a later release."
    )


class SampleMeta(Message):
    """samples/meta/<sha256>.json: where a sample comes from."""

    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    split: Split
    media_type: str
    width: int = Field(gt=0, description="Pixels, upright.")
    height: int = Field(gt=0, description="Pixels, upright.")
    boxes: tuple[LabelledBox, ...]
    exhaustive: bool = Field(default=True, description="False: the photo holds more than is labelled.")
    served_by: OpenValue
    model_version: str
    storage_location: StorageLocation | None = None
    perceptual_hash: str = Field(description="64-bit hash, hex, for near-duplicates.")
    revision: int = Field(default=1, ge=1)
    stored_at: Moment


class IngredientClass(Message):
    id: int = Field(ge=0, description="Given once, never reused.")
    label: str
    redirects_to: int | None = Field(
        default=None, description="After a merge: the id that counts instead. The old one stays reserved."
    )


class ClassList(Message):
    """samples/classes.json: grows at its end only, by conditional PUT."""

    classes: tuple[IngredientClass, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Labels in the order of their ids."""
        return tuple(entry.label for entry in self.classes)

    def extended_by(self, labels: Sequence[str]) -> ClassList:
        """With an id at the end for each label that has none yet; the same list when all have one."""
        known = self.names()
        new = [label for label in dict.fromkeys(labels) if label not in known]
        return ClassList(
            classes=(
                *self.classes,
                *(IngredientClass(id=len(known) + place, label=label) for place, label in enumerate(new)),
            )
        )


class ManifestLine(Message):
    """One sample of a frozen data set version (datasets/<version>/manifest.jsonl)."""

    sha256: Sha256
    split: Split
    subject: Subject
    image_key: str
    labels_key: str
    labels_sha256: Sha256 = Field(description="Of the label file as it was when the version was frozen.")
    revision: int = Field(default=1, ge=1)


class GoldenBox(Message):
    """A box that the model found when it was measured."""

    label: str
    confidence: Fraction
    bbox: BoundingBox


class GoldenPicture(Message):
    """A holdout photo that the model must see again as it saw it then, wherever it is loaded."""

    sha256: Sha256
    image_key: str
    boxes: tuple[GoldenBox, ...]


class ModelReport(Message):
    """models/ingredients/v<N>/report.json: what was measured, on what."""

    version: str
    run_id: str
    dataset_version: str
    onnx_sha256: Sha256 = Field(description="Of model.onnx, which was measured and is served.")
    onnx_bytes: int = Field(gt=0)
    plain_onnx_sha256: Sha256 | None = Field(default=None, description="Of model.plain.onnx; None: there is none.")
    optimization: str = Field(
        default="", description="What became of the export's graph, in a sentence; empty: it was not tried."
    )
    image_size: int = Field(gt=0)
    classes: tuple[str, ...]
    train_samples: int = Field(ge=0)
    evaluation: Evaluation
    comparison: Comparison | None = None
    golden: tuple[GoldenPicture, ...] = Field(
        default=(), description="References only: a photo that is erased is no longer looked at."
    )
    verdict: str = Field(description="passed or refused.")
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    created_at: Moment


class Alias(Message):
    """models/ingredients/aliases/<alias>.json: moved by the rollout service alone."""

    alias: str
    version: str | None = Field(description="None after a rollback to no model.")
    moved_at: Moment
    reason: str = ""
