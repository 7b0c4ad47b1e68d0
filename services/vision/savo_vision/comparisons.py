"""Comparison of a served answer with a second detector's (shadow: the candidate, teacher: the provider).

- shadow: the candidate runs on scans that the baseline answered. A model is tested on all kinds of photos before it
  gets traffic.
- teacher: the provider runs on scans that the custom model answered. Drift becomes visible although the provider hardly
  answers scans any more.

The answer is published first, so no user waits for a comparison or sees its result. Its outcome is counted by kind of
change, and its price is booked as evidence, within the provider's budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import structlog

from savo_contracts.scans import Arm, Detection, ScanCompleted, ServedBy
from savo_detection.differences.comparison import count_changes, diff_boxes
from savo_detection.errors import PhotoError
from savo_providers.errors import ProviderError
from savo_runtime.errors import DependencyDownError
from savo_runtime.telemetry.metrics import SCAN_COST, SECOND_LOOK_ITEMS, SECOND_LOOKS
from savo_vision.budget import Budget
from savo_vision.costs import CostPolicy
from savo_vision.detections import from_boxes
from savo_vision.errors import BudgetExhaustedError
from savo_vision.loaded_models import LoadedModels, timed_detection
from savo_vision.ports import ProviderDetector, Results
from savo_vision.routing import Router, bucket_of, is_within

__all__ = ["ComparisonKind", "ComparisonPolicy", "Comparisons"]

log = structlog.get_logger()

QUEUE_LIMIT = 4
"""Photos held in memory for comparisons. Above it, comparisons are left out and counted: scans have priority."""


class CandidateFailedError(Exception):
    """The candidate detected nothing; the message is the reason."""


class ComparisonKind(StrEnum):
    """Which detector runs in addition: `shadow` is the candidate, `teacher` the provider."""

    SHADOW = "shadow"
    TEACHER = "teacher"


@dataclass(frozen=True)
class ComparisonPolicy:
    """Shares of the eligible scans that are compared, 0…1."""

    shadow_share: float = 0.0
    teacher_share: float = 0.0

    def kind_for(self, completed: ScanCompleted, candidate: str | None) -> ComparisonKind | None:
        """The comparison to run, drawn by the scan's id and so independent of its subject. None for no comparison."""
        is_custom = completed.served_by == ServedBy.CUSTOM
        if is_custom and _is_drawn(ComparisonKind.TEACHER, completed.scan_id, self.teacher_share):
            return ComparisonKind.TEACHER
        has_other_candidate = candidate is not None and completed.model_version != candidate
        is_eligible = has_other_candidate and completed.assigned_arm is Arm.BASELINE
        is_drawn = is_eligible and _is_drawn(ComparisonKind.SHADOW, completed.scan_id, self.shadow_share)
        return ComparisonKind.SHADOW if is_drawn else None


@dataclass(frozen=True)
class _Comparison:
    kind: ComparisonKind
    photo: bytes
    completed: ScanCompleted


@dataclass
class Comparisons:
    """Queue and worker of the comparisons."""

    policy: ComparisonPolicy
    router: Router
    loaded_models: LoadedModels
    provider: ProviderDetector
    budget: Budget
    results: Results
    costs: CostPolicy
    clock: Callable[[], datetime]
    threads: Executor
    """Separate from the threads of scans, where a slow comparison would delay answers."""
    _queue: asyncio.Queue[_Comparison] = field(default_factory=lambda: asyncio.Queue(QUEUE_LIMIT))

    def offer(self, photo: bytes, completed: ScanCompleted) -> None:
        """Queue the scan if it is drawn and the queue has room. Never waits and never raises."""
        if kind := self.policy.kind_for(completed, self.router.candidate):
            try:
                self._queue.put_nowait(_Comparison(kind, photo, completed))
            except asyncio.QueueFull:
                SECOND_LOOKS.labels(kind.value, "left-out").inc()

    async def run(self) -> None:
        """Run queued comparisons one after the other, for ever."""
        while True:
            await self._compare(await self._queue.get())

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def drain(self) -> None:
        """Run the comparisons that are queued now."""
        while not self._queue.empty():
            await self._compare(self._queue.get_nowait())

    async def _compare(self, comparison: _Comparison) -> None:
        kind, completed = comparison.kind, comparison.completed
        detect = self._run_candidate if kind is ComparisonKind.SHADOW else self._ask_provider
        try:
            detector, items = await detect(comparison)
        except (ProviderError, DependencyDownError, BudgetExhaustedError, PhotoError, CandidateFailedError) as error:
            SECOND_LOOKS.labels(kind.value, "failed").inc()
            log.warning("comparison.failed", kind=kind.value, scan_id=completed.scan_id, error=str(error))
            return
        changes = {change.value: count for change, count in count_changes(diff_boxes(completed.items, items)).items()}
        for change, count in changes.items():
            SECOND_LOOK_ITEMS.labels(kind.value, detector, change).inc(count)
        SECOND_LOOKS.labels(kind.value, "done").inc()
        log.info(
            "comparison.completed",
            kind=kind.value,
            scan_id=completed.scan_id,
            served_version=completed.model_version,
            compared_version=detector,
            **changes,
        )

    async def _run_candidate(self, comparison: _Comparison) -> tuple[str, tuple[Detection, ...]]:
        version = self.router.candidate
        model = await self.loaded_models.wait_for(version, comparison.completed.scan_id) if version else None
        if model is None:
            raise CandidateFailedError(f"the candidate {version} is not loaded")
        try:
            boxes, decode_seconds, detect_seconds = await asyncio.get_running_loop().run_in_executor(
                self.threads, timed_detection, model.engine, comparison.photo
            )
        except PhotoError:
            raise
        except Exception as error:  # an engine may raise anything; finding such errors is the purpose of a shadow
            log.exception("detector.failed", scan_id=comparison.completed.scan_id, version=model.version)
            raise CandidateFailedError(f"the candidate {version} failed: {error}") from error
        usd = self.costs.of_engine(decode_seconds + detect_seconds)
        await self._record_spending(comparison.kind, ServedBy.CUSTOM.value, usd)
        return model.version, from_boxes(boxes)

    async def _ask_provider(self, comparison: _Comparison) -> tuple[str, tuple[Detection, ...]]:
        await self.budget.check()
        usd = 0.0
        with self.budget.track_call() as record_usd:
            try:
                answer = await self.provider.detect(comparison.photo)
                usd = self.costs.of_tokens(answer.usage)
            except ProviderError as error:
                usd = self.costs.of_tokens(error.usage)
                raise
            finally:
                record_usd(usd)
                await self._record_spending(comparison.kind, self.provider.served_by.value, usd)
        return (answer.model or self.provider.model)[:120], answer.items

    async def _record_spending(self, kind: ComparisonKind, provider: str, usd: float) -> None:
        if usd > 0:
            SCAN_COST.labels(provider, kind.value).inc(usd)
            await self.results.record_spending(provider, usd, self.clock())


def _is_drawn(kind: ComparisonKind, scan_id: str, share: float) -> bool:
    return is_within(bucket_of(kind.value, scan_id), share)
