"""Boxes that the champion proposes for photos that were rejected because their items have none.

An engineer accepts or corrects them in the gateway's review queue. They are no scan: nothing is served, and no provider
is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from savo_contracts.samples import BoxesProposed, RejectionReason, SampleRejected
from savo_contracts.scans import ScanCompleted
from savo_detection.errors import PhotoError
from savo_vision.detection_threads import DetectionThreads
from savo_vision.detections import from_boxes
from savo_vision.loaded_models import LoadedModel, LoadedModels
from savo_vision.ports import PhotoStore, Results

__all__ = ["ProposeBoxes"]

log = structlog.get_logger()


@dataclass(frozen=True)
class ProposeBoxes:
    """Runs the champion on a photo whose items have no box."""

    results: Results
    photos: PhotoStore
    loaded_models: LoadedModels
    detection_threads: DetectionThreads
    clock: Callable[[], datetime]

    async def __call__(self, rejected: SampleRejected) -> BoxesProposed | None:
        """None for another rejection, without a champion here, and for a photo that is gone or cannot be read."""
        champion = self.loaded_models.champion
        if rejected.reason != RejectionReason.NEEDS_BOXES or champion is None:
            return None
        completed = await self.results.finished(rejected.scan_id)
        photo = await self.photos.read(completed.image) if isinstance(completed, ScanCompleted) else None
        return await self._proposed(rejected, champion, photo) if photo else None

    async def _proposed(self, rejected: SampleRejected, champion: LoadedModel, photo: bytes) -> BoxesProposed | None:
        try:
            boxes, _, _ = await self.detection_threads(champion.engine, photo)
        except PhotoError:
            return None
        except Exception:  # an engine may raise anything; the photo waits for an engineer without a proposal
            log.exception("detector.failed", scan_id=rejected.scan_id, version=champion.version)
            return None
        log.info("boxes.proposed", scan_id=rejected.scan_id, version=champion.version, boxes=len(boxes))
        return BoxesProposed(
            scan_id=rejected.scan_id,
            subject=rejected.subject,
            model_version=champion.version,
            items=from_boxes(boxes),
            proposed_at=self.clock(),
        )
