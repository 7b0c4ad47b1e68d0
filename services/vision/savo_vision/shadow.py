"""A second pair of eyes on a share of the scans, after their answers are on their way: no user waits for it, and none sees it.

- shadow: the candidate looks at scans that the baseline answered, so that a model is seen on all kinds of photos before it gets traffic;
- teacher: the provider looks at scans that our own model answered, so that drift shows while hardly anybody asks the provider any more.

What comes of it is agreement, counted by kind of change, and its price, booked as evidence and within the provider's budget.
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
from savo_vision.model_slot import ModelSlot, timed_detection
from savo_vision.ports import Provider, Results
from savo_vision.routing import Router, bucket_of, is_within

__all__ = ["Kind", "SecondLookPolicy", "SecondLooks"]

log = structlog.get_logger()

MOST_WAITING = 4
"""Photos held in memory for it. When there are more, scans come first and the look is left out, counted."""


class NoLookError(Exception):
    """The candidate could not look; the message says why."""


class Kind(StrEnum):
    SHADOW = "shadow"
    TEACHER = "teacher"


@dataclass(frozen=True)
class SecondLookPolicy:
    """Shares of the scans in question, 0…1."""

    shadow_share: float = 0.0
    teacher_share: float = 0.0

    def kind_for(self, completed: ScanCompleted, candidate: str | None) -> Kind | None:
        """By the scan's id: which scans are looked at again has nothing to do with whose they are."""
        if completed.served_by == ServedBy.CUSTOM and _drawn(Kind.TEACHER, completed.scan_id, self.teacher_share):
            return Kind.TEACHER
        is_news = (
            candidate is not None and completed.assigned_arm is Arm.BASELINE and completed.model_version != candidate
        )
        return Kind.SHADOW if is_news and _drawn(Kind.SHADOW, completed.scan_id, self.shadow_share) else None


@dataclass(frozen=True)
class _Look:
    kind: Kind
    photo: bytes
    completed: ScanCompleted


@dataclass
class SecondLooks:
    policy: SecondLookPolicy
    router: Router
    slot: ModelSlot
    provider: Provider
    budget: Budget
    results: Results
    costs: CostPolicy
    clock: Callable[[], datetime]
    threads: Executor
    """Of its own: on those of the scans a slow look would hold up answers."""
    _waiting: asyncio.Queue[_Look] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))

    def offer(self, photo: bytes, completed: ScanCompleted) -> None:
        """Never waits, never raises."""
        if kind := self.policy.kind_for(completed, self.router.candidate):
            try:
                self._waiting.put_nowait(_Look(kind, photo, completed))
            except asyncio.QueueFull:
                SECOND_LOOKS.labels(kind.value, "left-out").inc()

    async def run(self) -> None:
        """The worker: one at a time."""
        while True:
            await self.take(await self._waiting.get())

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def settle(self) -> None:
        """All that waits now, done."""
        while not self._waiting.empty():
            await self.take(self._waiting.get_nowait())

    async def take(self, look: _Look) -> None:
        try:
            who, items = await (self._ask_candidate(look) if look.kind is Kind.SHADOW else self._ask_provider(look))
        except (ProviderError, DependencyDownError, BudgetExhaustedError, PhotoError, NoLookError) as fault:
            SECOND_LOOKS.labels(look.kind.value, "failed").inc()
            log.warning("shadow.failed", kind=look.kind.value, scan_id=look.completed.scan_id, reason=str(fault))
            return
        changes = {kind.value: count for kind, count in count_changes(diff_boxes(look.completed.items, items)).items()}
        for change, count in changes.items():
            SECOND_LOOK_ITEMS.labels(look.kind.value, who, change).inc(count)
        SECOND_LOOKS.labels(look.kind.value, "done").inc()
        log.info(
            "shadow.completed",
            kind=look.kind.value,
            scan_id=look.completed.scan_id,
            answered=look.completed.model_version,
            looked=who,
            **changes,
        )

    async def _ask_candidate(self, look: _Look) -> tuple[str, tuple[Detection, ...]]:
        version = self.router.candidate
        model = await self.slot.find(version) if version else None
        if model is None:
            raise NoLookError(f"the candidate {version} is not here")
        try:
            boxes, decoding, detecting = await asyncio.get_running_loop().run_in_executor(
                self.threads, timed_detection, model.engine, look.photo
            )
        except PhotoError:
            raise
        except Exception as fault:
            # Whatever the engine raised: that a candidate breaks is what shadows are there to find out.
            log.exception("detector.failed", scan_id=look.completed.scan_id, version=model.version)
            raise NoLookError(f"the candidate {version} broke: {fault}") from fault
        await self._book(look.kind, ServedBy.CUSTOM.value, self.costs.of_engine(decoding + detecting))
        return model.version, from_boxes(boxes)

    async def _ask_provider(self, look: _Look) -> tuple[str, tuple[Detection, ...]]:
        await self.budget.check()
        usd = 0.0
        with self.budget.calling() as book:
            try:
                answer = await self.provider.look(look.photo)
                usd = self.costs.of_tokens(answer.usage)
            except ProviderError as fault:
                usd = self.costs.of_tokens(fault.usage)
                raise
            finally:
                book(usd)
                await self._book(look.kind, self.provider.served_by.value, usd)
        return (answer.model or self.provider.model)[:120], answer.items

    async def _book(self, kind: Kind, who: str, usd: float) -> None:
        if usd > 0:
            SCAN_COST.labels(who, kind.value).inc(usd)
            await self.results.book(who, usd, self.clock())


def _drawn(kind: Kind, scan_id: str, share: float) -> bool:
    return is_within(bucket_of(kind.value, scan_id), share)
