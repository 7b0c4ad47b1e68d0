"""Ranking of a data set's likely label errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from savo_datasets.audit.predictions import photo_key
from savo_datasets.audit.suspicions import Detected, ErrorKind, Suspicion, suspicions
from savo_datasets.formats.samples import Sample
from savo_datasets.reports.doubts import Doubt, MarkedBox, RankedSample

__all__ = ["MARKED", "LabelAudit", "SuspectLabel", "audit_labels"]


MARKED = 5
"""Suspicions of a photo that its picture marks: more boxes cannot be told apart."""


@dataclass(frozen=True, slots=True)
class SuspectLabel:
    """A suspicion with its photo."""

    sample: Sample
    suspicion: Suspicion


@dataclass(frozen=True)
class LabelAudit:
    """Result of an audit."""

    ranked: Sequence[SuspectLabel]
    """The greatest suspicion first."""
    photos: int
    """With detections."""
    boxes: int
    without_detections: int
    """Photos that no model judged."""
    labelled: int
    """Judged photos that have labels."""
    nothing_found: int
    """Those of them where the model found none of the classes, so that their labels could not be judged."""
    ignored: Mapping[str, int]
    """Detections of classes that the data set lacks, by class, the most frequent first."""

    def by_kind(self) -> dict[str, int]:
        counts = Counter(entry.suspicion.kind for entry in self.ranked)
        return {kind.value: counts[kind] for kind in ErrorKind}

    def photos_of(self, most: int) -> list[RankedSample]:
        """The photos of the `most` greatest suspicions, for a contact sheet; each photo once."""
        doubts: dict[str, list[Doubt]] = {}
        samples: dict[str, Sample] = {}
        for entry in self.ranked[:most]:
            name = photo_key(entry.sample)
            samples[name] = entry.sample
            text = f"{entry.suspicion.score:.2f} {entry.suspicion.kind.value}: {entry.suspicion.text}"
            of_photo = doubts.setdefault(name, [])
            marked = _marked(entry.suspicion) if len(of_photo) < MARKED else ()
            of_photo.append(Doubt(entry.suspicion.score, text, marked=marked))
        return [RankedSample(sample, tuple(doubts[name])) for name, sample in samples.items()]


def audit_labels(
    samples: Iterable[Sample], predictions: Mapping[str, Sequence[Detected]], classes: Collection[str]
) -> LabelAudit:
    """Rank the suspicions of all photos. `predictions`: detections by `photo_key`.

    Detections of other classes than `classes`, those of the data set, are ignored: they say nothing about its labels.
    """
    found: list[SuspectLabel] = []
    photos, boxes, without, labelled, nothing_found = 0, 0, 0, 0, 0
    ignored: Counter[str] = Counter()
    for sample in samples:
        detections = predictions.get(photo_key(sample))
        if detections is None:
            without += 1
            continue
        photos, boxes = photos + 1, boxes + len(sample.boxes)
        ignored.update(entry.label for entry in detections if entry.label not in classes)
        known = [entry for entry in detections if entry.label in classes]
        labelled += bool(sample.boxes)
        nothing_found += bool(sample.boxes) and not known
        found += [SuspectLabel(sample, suspicion) for suspicion in suspicions(sample.boxes, known)]
    ranked = sorted(found, key=lambda entry: (-entry.suspicion.score, entry.sample.name))
    return LabelAudit(ranked, photos, boxes, without, labelled, nothing_found, dict(ignored.most_common()))


def _marked(suspicion: Suspicion) -> tuple[MarkedBox, ...]:
    """The label in doubt, if there is one, and the detection that disagrees."""
    found = suspicion.suggestion
    suggestion = MarkedBox(found.bbox, f"{found.label} {found.confidence:.2f}", is_suggestion=True)
    return (suggestion,) if suspicion.label is None else (MarkedBox(suspicion.bbox, suspicion.label), suggestion)
