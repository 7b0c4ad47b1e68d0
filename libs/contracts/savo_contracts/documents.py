"""Keys of the object store, and the JSON documents that several services read."""

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
"""File name of the unoptimised export behind a version's model.onnx, for engines that optimise graphs themselves."""

META_VERSION = 2
"""`SampleMeta.schema_version` of the documents that are written today."""

EXPORT_VERSION = 1
"""Version of the layout and documents of an export. Fields are only added, so a reader of version 1 stays valid."""

MANIFEST_FILE = "manifest.jsonl"
SUMMARY_FILE = "export.json"

EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
"""File extension by media type, for the media types of stored photos."""


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


def dataset_classes_key(dataset_version: str) -> str:
    """Key of the class list as it was at the freeze."""
    return f"datasets/{dataset_version}/classes.json"


def dataset_version_key(dataset_version: str) -> str:
    """Key of the version's description, a `DatasetVersion`."""
    return f"datasets/{dataset_version}/version.json"


def frozen_labels_key(labels_sha256: str) -> str:
    """Key of a label file that data set versions keep by its content."""
    return f"datasets/labels/{labels_sha256}.txt"


def model_key(version: str, name: str) -> str:
    """Key of a model version's file.

    `name` is model.onnx, model.plain.onnx, weights.pt, card.md, report.json or classes.json.
    """
    return f"models/ingredients/{version}/{name}"


def alias_key(alias: str) -> str:
    """`alias` is champion or challenger."""
    return f"models/ingredients/aliases/{alias}.json"


class LabelledBox(Message):
    """A line of a sample's label file, with the label's name and the box's source."""

    class_id: int = Field(ge=0, description="Id in samples/classes.json.")
    label: str
    bbox: BoundingBox
    box_source: OpenValue = Field(
        description="Who drew the box: a value of `ServedBy` or `BoxSource`, or a value of a later release."
    )


class RejectedBox(Message):
    """A box of the answer that the user removed: the label is not at that place."""

    label: str = Field(description="As detected. It may have no class.")
    bbox: BoundingBox
    box_source: OpenValue = Field(description="Who drew the box, as in `LabelledBox`.")
    confidence: Fraction | None = Field(default=None, description="The detector's confidence.")


class SampleMeta(Message):
    """samples/meta/<sha256>.json: the origin, split and labels of a sample.

    Version 2 adds `rejected`, and samples without a box. A reader ignores fields that it does not know, so it can read
    a later version.
    """

    schema_version: int = Field(
        default=1, ge=1, description="Version of this document. Absent in documents of version 1."
    )
    sha256: Sha256
    scan_id: ScanId
    subject: Subject
    anonymous: bool = False
    split: Split
    media_type: str
    width: int = Field(gt=0, description="Pixels, upright.")
    height: int = Field(gt=0, description="Pixels, upright.")
    boxes: tuple[LabelledBox, ...] = Field(
        description="Empty for a background sample: a photo in which a person found no ingredient."
    )
    rejected: tuple[RejectedBox, ...] = Field(
        default=(), description="Boxes of the answer that the user removed. They are no labels. Since version 2."
    )
    exhaustive: bool = Field(default=True, description="False: some visible ingredients have no label.")
    served_by: OpenValue
    model_version: str
    storage_location: StorageLocation | None = None
    perceptual_hash: str = Field(description="64-bit difference hash, hex; near-duplicates have similar hashes.")
    revision: int = Field(default=1, ge=1)
    stored_at: Moment


class IngredientClass(Message):
    """An entry of the class list."""

    id: int = Field(ge=0, description="Assigned once, never reused.")
    label: str
    redirects_to: int | None = Field(
        default=None, description="After a merge: the id that replaces this one. This id stays reserved."
    )


class ClassList(Message):
    """samples/classes.json: the append-only list of classes, changed by conditional PUT."""

    classes: tuple[IngredientClass, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Labels in the order of their ids."""
        return tuple(entry.label for entry in self.classes)

    def extend(self, labels: Sequence[str]) -> ClassList:
        """This list with a new id for each label that has none; an equal list when all labels have ids."""
        known = self.names()
        new = [label for label in dict.fromkeys(labels) if label not in known]
        added = (IngredientClass(id=class_id, label=label) for class_id, label in enumerate(new, start=len(known)))
        return ClassList(classes=(*self.classes, *added))


class DatasetVersion(Message):
    """datasets/<version>/version.json: describes a version, and claims its number before the manifest is written.

    A version of an earlier release has a manifest only. A version without a manifest is not complete.
    """

    version: str
    manifest_sha256: Sha256
    samples: dict[str, int] = Field(description="Number of samples by split.")
    boxes: dict[str, int] = Field(description="Number of boxes by label; a merged class counts for its target.")
    frozen_at: Moment
    run_id: str | None = Field(default=None, description="Training run that froze it; None: a person did.")
    by: str | None = Field(default=None, description="The person who froze it.")
    reason: str = ""
    removed_at: Moment | None = Field(default=None, description="The number of a removed version is not used again.")


class ManifestLine(Message):
    """A sample of a frozen data set version: a line of datasets/<version>/manifest.jsonl."""

    sha256: Sha256
    split: Split
    subject: Subject
    image_key: str
    labels_key: str = Field(
        description="datasets/labels/<labels_sha256>.txt. In a version of an earlier release: the sample's own label "
        "file, which later corrections change."
    )
    labels_sha256: Sha256 = Field(description="Hash of the label file when the version was frozen.")
    revision: int = Field(default=1, ge=1)


class GoldenBox(Message):
    """A box that the model found in a golden picture when it was evaluated."""

    label: str
    confidence: Fraction
    bbox: BoundingBox


class GoldenPicture(Message):
    """A holdout photo with the boxes that the model must find again on every machine that loads it."""

    sha256: Sha256
    image_key: str
    boxes: tuple[GoldenBox, ...]


class ModelReport(Message):
    """models/ingredients/v<N>/report.json: a model version's evaluation and the gate's verdict on it."""

    version: str
    run_id: str
    dataset_version: str
    onnx_sha256: Sha256 = Field(description="Hash of model.onnx, the file that is evaluated and served.")
    onnx_bytes: int = Field(gt=0)
    plain_onnx_sha256: Sha256 | None = Field(
        default=None, description="Hash of model.plain.onnx; None when the version has no such file."
    )
    optimization: str = Field(
        default="", description="Result of the graph optimisation, in a sentence; empty when it was not tried."
    )
    image_size: int = Field(gt=0)
    classes: tuple[str, ...]
    train_samples: int = Field(ge=0)
    evaluation: Evaluation
    comparison: Comparison | None = None
    golden: tuple[GoldenPicture, ...] = Field(
        default=(), description="Hashes and keys only: an erased photo is no longer checked."
    )
    verdict: str = Field(description="passed or refused.")
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    created_at: Moment


class Alias(Message):
    """models/ingredients/aliases/<alias>.json: the model version behind a name. Only the rollout service moves it."""

    alias: str
    version: str | None = Field(description="None when the alias names no model, such as after a rollback.")
    moved_at: Moment
    reason: str = ""


class ExportedSample(Message):
    """A line of manifest.jsonl: a sample of the archive, in order of sha256."""

    sha256: Sha256
    image: str = Field(description="Path in the archive.")
    labels: str = Field(description="Path in the archive.")
    labels_sha256: Sha256 = Field(description="Hash of the label file in the archive.")
    group: Subject = Field(description="Random pseudonym. Photos of one group belong in one split.")
    split: Split
    boxes: tuple[LabelledBox, ...] = Field(description="As in the label file, with names and sources.")
    rejected: tuple[RejectedBox, ...] = Field(default=(), description="As in `SampleMeta`.")
    exhaustive: bool = Field(default=True, description="False: some visible ingredients have no label.")
    anonymous: bool = Field(default=False, description="True: of no known person; such samples go to train only.")
    consent_version: str | None = Field(
        default=None, description="Version of the text that the person agreed to; null where no one was asked."
    )
    media_type: str
    bytes: int = Field(gt=0, description="Of the image.")
    width: int = Field(gt=0, description="Pixels, upright.")
    height: int = Field(gt=0, description="Pixels, upright.")
    served_by: OpenValue = Field(description="What answered the scan.")
    model_version: str
    storage_location: StorageLocation | None = None
    revision: int = Field(default=1, ge=1, description="Revision of the confirmation that the labels come from.")
    stored_at: Moment


class ExportSummary(Message):
    """export.json: what the archive holds. It is the archive's last file, so an archive with it is complete."""

    version: int = EXPORT_VERSION
    layout: str = Field(default="yolo", description="Format of the labels.")
    filters: dict[str, list[str]] = Field(default_factory=dict, description="Values of each filter; empty: everything.")
    samples: int = Field(ge=0, description="Lines of manifest.jsonl.")
    boxes: int = Field(ge=0)
    bytes: int = Field(ge=0, description="Of the images.")
    classes: tuple[str, ...] = Field(description="Lines of classes.txt: the label of each class id.")
    erased_meanwhile: int = Field(
        default=0,
        ge=0,
        description="Samples that were erased after they were sent. The archive may have their files; the manifest "
        "does not list them, and they must not be used.",
    )
    began_at: Moment
    finished_at: Moment


class ScanTableRow(Message):
    """A row of scans.parquet: a scan with its answer, without anything that a person wrote."""

    scan_id: ScanId
    subject: Subject
    anonymous: bool
    status: str
    storage_location: str | None = None
    image_sha256: str
    image_bytes: int
    width: int
    height: int
    experiment: str | None = None
    assigned_arm: str | None = None
    served_by: str | None = None
    model_version: str | None = None
    fallback_reason: str | None = None
    items: int | None = Field(default=None, description="Of the answer.")
    duration_ms: float | None = None
    cost_usd: float | None = None
    error_code: str | None = None
    edited: bool | None = None
    requested_at: Moment
    finished_at: Moment | None = None
    confirmed_at: Moment | None = None


class ConfirmationTableRow(Message):
    """A row of confirmations.parquet: an item of a confirmation as it was sent; one row for a confirmation of all."""

    scan_id: ScanId
    revision: int
    published: bool
    confirmed_at: Moment
    all_correct: bool
    nothing_missing: bool | None = None
    item: int | None = Field(default=None, description="Position in the confirmation; null for a confirmation of all.")
    action: str | None = None
    label: str | None = None
    from_label: str | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    quantity_estimate: float | None = None
    storage_hint: str | None = None
