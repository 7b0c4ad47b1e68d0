"""`savo replay --model V`: inference with a chosen model on recorded scans, compared with their recorded answers.

Photos come from the object store, answers from the topics. Below the confidence threshold the product would ask the
provider: here the provider's recorded answer is used, so nothing is paid. Nothing is written to Kafka. The same command
continues an interrupted run.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from savo_cli.replay.diff_page import draw_changes, sentence, write_page
from savo_cli.replay.diff_report import DiffReport
from savo_cli.replay.pinned_model import PinnedModel, load_pinned_model
from savo_contracts.confidence import CONFIDENCE_THRESHOLD, fallback_reason, scan_confidence
from savo_contracts.envelope import ImageRef
from savo_contracts.scans import ScanCompleted, ScanRequested, ServedBy
from savo_contracts.topics import SCANS_COMPLETED, SCANS_REQUESTED
from savo_detection.detector import DetectedBox
from savo_detection.differences.comparison import change_to_dict, diff_boxes
from savo_detection.errors import PhotoError
from savo_operations.replay.offset_ranges import find_offset_range, read_offset_range
from savo_operations.replay.positions import parse_position
from savo_operations.replay.selection import Selection
from savo_runtime.command_line.output import CommandError, print_json, table_console
from savo_runtime.errors import InvalidMessageError, SavoError
from savo_runtime.messaging.consuming.records import decode
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_runtime.timing.clock import utc_now

__all__ = ["ModelReplay", "answer_with", "replay_with_model"]

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ModelReplay:
    """A request for a replay through a model. `since` and `until` are positions as in `savo replay --from`."""

    model: str
    since: str = "start"
    until: str = "end"
    selection: Selection
    output: Path
    threshold: float = CONFIDENCE_THRESHOLD
    """Scan confidence below which the provider would be asked."""
    limit: int | None = None
    """Maximum number of scans in this run."""
    pictures: int = 100
    """Maximum number of pictures on the page."""
    dry_run: bool = False
    """Count the scans without loading the model or writing anything."""

    def identity(self, sha256: str) -> dict[str, Any]:
        """What distinguishes this request from others in the same folder; `sha256` is the model's."""
        return {
            "model": sha256,
            "from": self.since,
            "to": self.until,
            "threshold": self.threshold,
            **self.selection.as_json(),
        }


def replay_with_model(
    request: ModelReplay, settings: RuntimeSettings, *, as_json: bool, on_progress: OnProgress | None = None
) -> None:
    """Compare the scans, write pictures and page, print the sums. Raises `CommandError`."""
    work = survey if request.dry_run else compare
    try:
        summary = asyncio.run(work(request, settings, on_progress or (lambda _done, _total: None)))
    except SavoError as error:
        raise CommandError(f"{error}; the same command continues this run") from error
    except KeyboardInterrupt:
        raise CommandError(f"stopped; the same command continues this run ({request.output})") from None
    if as_json:
        print_json(summary)
    elif request.dry_run:
        table_console().print(_survey_text(summary, request), markup=False, soft_wrap=True)
    else:
        _print(summary)


async def survey(request: ModelReplay, settings: RuntimeSettings, on_progress: OnProgress) -> dict[str, Any]:
    """How many scans would be compared, answered and unanswered."""
    counted: dict[str, set[str]] = {}
    async with TopicReader(settings) as reader:
        for state, topic in (("answered", SCANS_COMPLETED), ("never_answered", SCANS_REQUESTED)):
            counted[state] = {event.scan_id async for event in _events(request, reader, topic, on_progress)}
    answered, found = len(counted["answered"]), len(counted["answered"] | counted["never_answered"])
    scans = found if request.limit is None else min(found, request.limit)
    return {
        "dry_run": True,
        "scans": scans,
        "answered": answered,
        "never_answered": found - answered,
        "limit_reached": scans < found,
    }


def _survey_text(summary: dict[str, Any], request: ModelReplay) -> str:
    scans = f"{summary['answered'] + summary['never_answered']:,} scans would go through {request.model}"
    parts = f"{summary['answered']:,} answered, {summary['never_answered']:,} never answered"
    limit = f"; --limit ends after {summary['scans']:,}" if summary["limit_reached"] else ""
    return f"{scans}: {parts}{limit}. No scan was compared and nothing was written."


async def compare(request: ModelReplay, settings: RuntimeSettings, on_progress: OnProgress) -> dict[str, Any]:
    """The summary, as `--json` prints it."""
    began, store = time.monotonic(), open_store(settings)
    try:
        model = await load_pinned_model(request.model, store)
        with DiffReport(request.output, request.identity(model.sha256)) as report:
            async with TopicReader(settings) as reader:
                limit_reached = await _Comparison(request, model, store, report, on_progress).run(reader)
            summary = report.summary()
            summary |= {
                "model": {"version": model.version, "sha256": model.sha256, "classes": len(model.detector.classes)},
                "resumed": report.resumed,
            }
            summary |= {
                "output": str(request.output),
                "page": str(request.output / "index.html"),
                "limit_reached": limit_reached,
            }
            report.write_lines(request.output / "differences.jsonl")
            write_page(
                request.output / "index.html",
                summary,
                (outcome for outcome in report.scans(changed_first=True) if outcome["picture"]),
            )
        return summary | {"seconds": round(time.monotonic() - began, 1)}
    finally:
        await store.close()


async def _events(
    request: ModelReplay, reader: TopicReader, topic: Any, on_progress: OnProgress
) -> AsyncIterator[ScanCompleted | ScanRequested]:
    now, passed = utc_now(), 0
    span = await find_offset_range(
        reader,
        await reader.partitions([topic.name]),
        parse_position(request.since, now),
        parse_position(request.until, now),
    )
    async for _, records, _ in read_offset_range(reader, span):
        for record in records:
            passed += 1
            on_progress(passed, span.offsets)
            if record.value is None or not request.selection.matches(record, topic):
                continue
            try:
                yield decode(topic, record).event
            except InvalidMessageError:
                continue


@dataclass
class _Comparison:
    request: ModelReplay
    model: PinnedModel
    store: ObjectStore
    report: DiffReport
    on_progress: OnProgress
    done: int = 0
    drawn: int = 0

    async def run(self, reader: TopicReader) -> bool:
        """Compare answered scans, then unanswered ones. Returns whether the limit ended the run."""
        self.drawn = sum(outcome["picture"] is not None for outcome in self.report.scans())
        for topic in (SCANS_COMPLETED, SCANS_REQUESTED):
            async for event in _events(self.request, reader, topic, self.on_progress):
                if event.scan_id in self.report:
                    continue
                if self.request.limit is not None and self.done >= self.request.limit:
                    return True
                self.report.add(await self._compare_scan(event))
                self.done += 1
        return False

    async def _compare_scan(self, event: ScanCompleted | ScanRequested) -> dict[str, Any]:
        before = _answer_of(event)
        outcome: dict[str, Any] = {
            "scan_id": event.scan_id,
            "state": "compared",
            "before": before,
            "after": None,
            "changes": [],
            "picture": None,
        }
        photo, state = await self._photo(event.image)
        if photo is None:
            return outcome | {"state": state}
        try:
            boxes = await asyncio.to_thread(self.model.detector.detect, photo)
        except PhotoError:
            return outcome | {"state": "unreadable"}
        outcome |= answer_with(self.model.version, event, boxes, self.request.threshold)
        return outcome | {"picture": await self._picture(photo, outcome)}

    async def _photo(self, image: ImageRef) -> tuple[bytes | None, str]:
        """The scanned bytes, or None and the state of the scan."""
        try:
            photo = await self.store.get(image.key)
        except ObjectNotFoundError:
            return None, "gone"
        return (photo, "") if hashlib.sha256(photo).hexdigest() == image.sha256 else (None, "altered")

    async def _picture(self, photo: bytes, outcome: dict[str, Any]) -> str | None:
        if self.drawn >= self.request.pictures or all(change["kind"] == "same" for change in outcome["changes"]):
            return None
        self.drawn += 1
        # Hashed, because a scan id may contain characters that a file name cannot.
        name = f"pictures/{hashlib.sha256(outcome['scan_id'].encode()).hexdigest()[:24]}.jpg"
        await asyncio.to_thread(draw_changes, photo, outcome, self.request.output / name)
        return name


def answer_with(
    version: str, event: ScanCompleted | ScanRequested, boxes: Sequence[DetectedBox], threshold: float
) -> dict[str, Any]:
    """The product's answer with this model, and its changes against the recorded one.

    Below the threshold the provider's recorded boxes replace the model's, if there are any.
    """
    by_provider = getattr(event, "served_by", ServedBy.CUSTOM) != ServedBy.CUSTOM
    recorded = getattr(event, "items", None) if by_provider else None
    confidences = [box.confidence for box in boxes]
    falls_back = fallback_reason(confidences, threshold) is not None
    answer = recorded if falls_back and recorded is not None else boxes
    changes = diff_boxes(getattr(event, "items", ()), answer)
    after = {
        "model": version,
        "scan_confidence": round(scan_confidence(confidences), 4),
        "boxes": len(boxes),
        "falls_back": falls_back,
        "recorded": answer is recorded,
    }
    return {"after": after, "changes": [change_to_dict(change) for change in changes]}


def _answer_of(event: ScanCompleted | ScanRequested) -> dict[str, Any] | None:
    if isinstance(event, ScanRequested):
        return None
    return {"served_by": event.served_by, "model_version": event.model_version, "items": len(event.items)}


def _print(summary: dict[str, Any]) -> None:
    console = table_console()
    console.print(Text(sentence(summary)))
    if summary["resumed"]:
        console.print(
            f"{summary['resumed']} of them were compared by an earlier run, which this one continued", markup=False
        )
    if summary["limit_reached"]:
        console.print("--limit ended the run; the same command continues it", style="yellow")
    sums = Table("same", "moved", "other label", "gained", "lost", title="boxes", title_justify="left")
    sums.add_row(*(str(summary["boxes"][kind]) for kind in ("same", "moved", "relabelled", "gained", "lost")))
    console.print(sums)
    if summary["labels"]:
        table = Table("label", "gained", "lost", "moved", "renamed from", "renamed to")
        for row in summary["labels"][:20]:
            table.add_row(
                Text(row["label"]),
                *(str(row.get(name, 0)) for name in ("gained", "lost", "moved", "renamed_from", "renamed_to")),
            )
        console.print(table)
    console.print(f"pictures: {summary['page']}", markup=False)
