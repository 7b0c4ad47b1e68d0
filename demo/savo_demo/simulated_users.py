"""Simulated phones: HTTP clients that upload photos, wait for the answers, and confirm or correct them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Action
from savo_datasets.labels import TruthBox
from savo_demo.corrections import AnsweredItem, Edit, corrections
from savo_demo.errors import PhoneError, first_error

ANSWER_TIMEOUT_SECONDS = 90.0
"""Time after which an unanswered scan counts as lost."""

WAIT_SECONDS = 25
ALL_CORRECT_SHARE = 0.6
"""Share of users who confirm a correct answer by `all_correct` instead of item by item."""

_RETRIED_STATUSES = frozenset({429, 502, 503})


@dataclass(frozen=True)
class Upload:
    """A photo with its truth, the user who scans it, and the storage place."""

    user: str
    photo: bytes
    truth: tuple[TruthBox, ...]
    place: str = "fridge"
    consent: bool | None = None


@dataclass(frozen=True)
class ScanOutcome:
    """The result of an upload: refused, failed, or answered and confirmed."""

    refused: str | None = None
    """Problem code of a refused photo."""
    failed: str | None = None
    """Error code of a scan without an answer."""
    scan_id: str | None = None
    arm: str | None = None
    served_by: str | None = None
    model_version: str | None = None
    experiment: str | None = None
    duration_ms: float = 0.0
    cost_usd: float = 0.0
    edits: tuple[Edit, ...] = ()
    confirmed: bool = False

    @property
    def corrected(self) -> bool:
        return self.confirmed and any(edit.action is not Action.KEPT for edit in self.edits)


@dataclass
class SimulatedUsers:
    """Many simulated users. `choices` decides who confirms by `all_correct`."""

    client: httpx2.AsyncClient
    choices: random.Random
    at_once: int = 8

    async def run(
        self,
        uploads: Iterable[Upload],
        on_outcome: Callable[[ScanOutcome], None],
        *,
        until: Callable[[], bool] = lambda: False,
    ) -> int:
        """Send each upload, at most `at_once` at a time, until there are no more or `until` returns true.

        `on_outcome` receives each result. Returns the number of uploads. Raises `PhoneError`.
        """
        pending = iter(uploads)
        done = 0

        async def user() -> None:
            nonlocal done
            for upload in pending:
                on_outcome(await self.scan_and_confirm(upload))
                done += 1
                if until():
                    return

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.at_once):
                    group.create_task(user())
        except BaseExceptionGroup as many:
            raise first_error(many) from many
        return done

    async def scan_and_confirm(self, upload: Upload) -> ScanOutcome:
        """Upload the photo, wait for the answer and confirm it. Raises `PhoneError`."""
        answer = await self._scan(upload)
        if answer.status_code in {400, 413, 415, 422}:
            return ScanOutcome(refused=str(answer.json().get("code")))
        scan = await self._finished(answer)
        if scan["status"] != "completed":
            return ScanOutcome(failed=str((scan.get("error") or {}).get("code", "lost")), scan_id=scan["scan_id"])
        return await self._confirm(scan, upload)

    async def _scan(self, upload: Upload) -> httpx2.Response:
        fields = {"user_id": upload.user, "storage_location": upload.place}
        if upload.consent is not None:
            fields["consent"] = "true" if upload.consent else "false"
        files = {"image": ("photo.jpg", upload.photo, "image/jpeg")}
        return await self._request("POST", "/v1/scans", params={"wait": WAIT_SECONDS}, data=fields, files=files)

    async def _finished(self, answer: httpx2.Response) -> dict[str, Any]:
        scan = _body(answer)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                while scan["status"] == "queued":
                    await asyncio.sleep(0.25)
                    scan = _body(await self._request("GET", f"/v1/scans/{scan['scan_id']}"))
        except TimeoutError:
            raise PhoneError(f"scan {scan['scan_id']} is still queued after {ANSWER_TIMEOUT_SECONDS:.0f} s") from None
        return scan

    async def _confirm(self, scan: dict[str, Any], upload: Upload) -> ScanOutcome:
        result = scan["result"]
        edits = corrections([_answered(item) for item in result["items"]], upload.truth)
        all_kept = all(edit.action is Action.KEPT for edit in edits) and bool(edits)
        short = all_kept and self.choices.random() < ALL_CORRECT_SHARE
        body: dict[str, Any] = {"all_correct": True} if short else {"items": [edit.as_json() for edit in edits]}
        _body(await self._request("POST", f"/v1/scans/{scan['scan_id']}/confirmation", json=body))
        return ScanOutcome(
            scan_id=scan["scan_id"],
            arm=result["assigned_arm"],
            served_by=result["served_by"],
            model_version=result["model_version"],
            experiment=result.get("experiment"),
            duration_ms=result["duration_ms"],
            cost_usd=result["cost_usd"],
            edits=edits,
            confirmed=True,
        )

    async def _request(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """Send a request, with retries while the gateway is busy. Raises `PhoneError`."""
        for attempt in range(8):
            try:
                answer = await self.client.request(method, path, **rest)
            except httpx2.HTTPError as error:
                raise PhoneError(f"{method} {path}: {type(error).__name__} {error}") from error
            if answer.status_code not in _RETRIED_STATUSES:
                return answer
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.2 * 2**attempt)))
        raise PhoneError(f"{method} {path} still answers {answer.status_code} after 8 tries: {answer.text[:300]}")


def new_client(url: str) -> httpx2.AsyncClient:
    """An HTTP client for many simulated users. The caller closes it."""
    limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(WAIT_SECONDS + 20), limits=limits)


def with_catalogue_labels(truth: Iterable[TruthBox]) -> tuple[TruthBox, ...]:
    """The truth with the catalogue's labels, because a folder may spell its classes differently."""
    return tuple(TruthBox(normalise(item.label).label, item.bbox) for item in truth)


def _answered(item: dict[str, Any]) -> AnsweredItem:
    return AnsweredItem(item["label"], BoundingBox(**item["bbox"]) if item.get("bbox") else None)


def _body(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        raise PhoneError(
            f"{answer.request.method} {answer.request.url.path} → {answer.status_code}: {answer.text[:300]}"
        )
    body: dict[str, Any] = answer.json()
    return body
