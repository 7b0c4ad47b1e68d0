"""What `savo dataset audit` reports: JSON, sentences and a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from savo_datasets.audit.predictions import photo_key
from savo_datasets.audit.ranking import MARKED, LabelAudit, SuspectLabel
from savo_datasets.reports.html import counted, counted_of
from savo_trainer.command_line.terminal import out, print_line

__all__ = ["AuditReport", "print_report"]

_PRINTED, _NAMED = 20, 5

_EXPLANATION = (
    "The score, 0 to 1, orders the suspicions: it is near 1 where a confident detection contradicts a label that no"
    " other detection supports. It is no probability. missing: something was found where no label is. wrong-name:"
    " another class was found at the place of a label. badly-placed: the class of a label was found beside its box."
    " Thick: the label in doubt. Dashed: what was found, with its confidence. Thin and grey: the other labels."
    f" The {MARKED} greatest suspicions of a photo are drawn, and all are listed below it."
)
_TRAINED_ON = (
    "If the model was trained on these photos, it repeats their label errors, which are then hidden: --folds trains"
    " models on other photos."
)


@dataclass(frozen=True)
class AuditReport:
    """An audit of the data set `source`, of which at most `most` suspicions are listed."""

    source: str
    audited: LabelAudit
    most: int
    is_one_model: bool
    """One model judged all photos, so that it may have been trained on them."""

    def as_dict(self) -> dict[str, Any]:
        audited = self.audited
        return {
            "source": self.source,
            "photos": audited.photos,
            "boxes": audited.boxes,
            "without_detections": audited.without_detections,
            "labelled_photos": audited.labelled,
            "nothing_found": audited.nothing_found,
            "ignored_detections": dict(audited.ignored),
            "warnings": list(self._warnings()),
            "suspicions": audited.by_kind(),
            "ranked": [_row(entry) for entry in audited.ranked[: self.most]],
        }

    def sentences(self) -> list[str]:
        audited = self.audited
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in audited.by_kind().items())
        counts = f"{counted(audited.photos, 'photo')} with {counted(audited.boxes, 'box')}. Suspicions: {kinds}."
        return [counts, *self._warnings()]

    def page_sentences(self) -> list[str]:
        total = len(self.audited.ranked)
        if not total:
            return self.sentences()
        shown = f"{counted_of(min(self.most, total), total, 'suspicion')} shown, the greatest first."
        return [*self.sentences(), shown, _EXPLANATION]

    @property
    def empty_text(self) -> str:
        """The sentence instead of a list without suspicions."""
        if self.audited.nothing_found == self.audited.labelled:
            return "No label could be judged."
        return "No label is suspicious: the detections agree with all labels that could be judged."

    def _warnings(self) -> Iterator[str]:
        audited = self.audited
        if audited.without_detections:
            yield f"Not judged, because they have no detections: {counted(audited.without_detections, 'photo')}."
        if audited.nothing_found:
            photos = f"{audited.nothing_found:,} of {counted(audited.labelled, 'photo')} with labels"
            yield f"The model found nothing on {photos}: these could not be judged."
        if audited.ignored:
            detections = counted(sum(audited.ignored.values()), "detection")
            classes = f"{len(audited.ignored):,} class{'es' if len(audited.ignored) > 1 else ''}"
            names, more = ", ".join(list(audited.ignored)[:_NAMED]), len(audited.ignored) - _NAMED
            rest = f" and {more:,} more" if more > 0 else ""
            yield f"Ignored: {detections} of {classes} that the data set lacks: {names}{rest}."
        if self.is_one_model:
            yield _TRAINED_ON


def print_report(report: AuditReport, summary: dict[str, Any]) -> None:
    """Print the sentences, and a table of the greatest suspicions. `summary`: that of the report, with its files."""
    for sentence in report.sentences():
        print_line(sentence)
    ranked = report.audited.ranked
    if ranked:
        table = Table("score", "kind", "photo", "what")
        for entry in ranked[:_PRINTED]:
            suspicion = entry.suspicion
            table.add_row(f"{suspicion.score:.2f}", suspicion.kind.value, photo_key(entry.sample), suspicion.text)
        out.print(table)
        print_line(f"{counted_of(min(_PRINTED, len(ranked)), len(ranked), 'suspicion')} listed.")
    else:
        print_line(report.empty_text)
    if "html" in summary:
        print_line(f"page: {summary['html']}")
        print_line(f"sheet: {summary['sheet']}")
    else:
        print_line("next: --html writes a page with pictures")


def _row(entry: SuspectLabel) -> dict[str, Any]:
    suspicion = entry.suspicion
    return {
        "photo": photo_key(entry.sample),
        "kind": suspicion.kind.value,
        "score": round(suspicion.score, 4),
        "label": suspicion.label,
        "bbox": suspicion.bbox.model_dump(),
        "suggestion": {
            "label": suspicion.suggestion.label,
            "confidence": round(suspicion.suggestion.confidence, 4),
            "bbox": suspicion.suggestion.bbox.model_dump(),
        },
    }
