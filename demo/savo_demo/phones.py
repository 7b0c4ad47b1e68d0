"""Simulated phones: they take a photo's bytes to the gateway, wait for the answer, and confirm or correct it, over HTTP alone."""

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
from savo_demo.corrections import Answered, Edit, corrections
from savo_demo.errors import PhoneError, first_of

PATIENCE_SECONDS = 90.0
"""How long a person waits for an answer before the scan counts as lost."""

WAIT_SECONDS = 25
SHORT_FORM = 0.6
"""Share of people who tap "all correct" when it is."""

_AGAIN = frozenset({429, 502, 503})


@dataclass(frozen=True)
class Errand:
    """One photo that one person wants scanned."""

    user: str
    photo: bytes
    truth: tuple[TruthBox, ...]
    place: str = "fridge"
    consent: bool | None = None


@dataclass(frozen=True)
class Visit:
    """What came of an errand."""

    refused: str | None = None
    """The problem code, when the photo was not taken."""
    failed: str | None = None
    """The error code, when the scan ended without an answer."""
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
class Phones:
    """Many people on one network. `taps` decides who uses the short form."""

    client: httpx2.AsyncClient
    taps: random.Random
    at_once: int = 8

    async def run(
        self, errands: Iterable[Errand], seen: Callable[[Visit], None], *, until: Callable[[], bool] = lambda: False
    ) -> int:
        """Every errand once, at most `at_once` at a time; `seen` hears of each. Stops taking new ones when `until` says so. Gives how many were run.
        Raises `PhoneError`."""
        waiting = iter(errands)
        done = 0

        async def person() -> None:
            nonlocal done
            for errand in waiting:
                seen(await self.visit(errand))
                done += 1
                if until():
                    return

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.at_once):
                    group.create_task(person())
        except BaseExceptionGroup as many:
            raise first_of(many) from many
        return done

    async def visit(self, errand: Errand) -> Visit:
        """Scan, then confirm. Raises `PhoneError`."""
        answer = await self._scan(errand)
        if answer.status_code in {400, 413, 415, 422}:
            return Visit(refused=str(answer.json().get("code")))
        scan = await self._finished(answer)
        if scan["status"] != "completed":
            return Visit(failed=str((scan.get("error") or {}).get("code", "lost")), scan_id=scan["scan_id"])
        return await self._confirm(scan, errand)

    async def _scan(self, errand: Errand) -> httpx2.Response:
        fields = {"user_id": errand.user, "storage_location": errand.place}
        if errand.consent is not None:
            fields["consent"] = "true" if errand.consent else "false"
        files = {"image": ("photo.jpg", errand.photo, "image/jpeg")}
        return await self._ask("POST", "/v1/scans", params={"wait": WAIT_SECONDS}, data=fields, files=files)

    async def _finished(self, answer: httpx2.Response) -> dict[str, Any]:
        scan = _body(answer)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while scan["status"] == "queued":
                await asyncio.sleep(0.25)
                scan = _body(await self._ask("GET", f"/v1/scans/{scan['scan_id']}"))
        return scan

    async def _confirm(self, scan: dict[str, Any], errand: Errand) -> Visit:
        result = scan["result"]
        edits = corrections([_answered(item) for item in result["items"]], errand.truth)
        flawless = all(edit.action is Action.KEPT for edit in edits) and bool(edits)
        short = flawless and self.taps.random() < SHORT_FORM
        body: dict[str, Any] = {"all_correct": True} if short else {"items": [edit.as_json() for edit in edits]}
        _body(await self._ask("POST", f"/v1/scans/{scan['scan_id']}/confirmation", json=body))
        return Visit(
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

    async def _ask(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """Ask again, as apps do, when the gateway is busy. Raises `PhoneError`."""
        for attempt in range(8):
            try:
                answer = await self.client.request(method, path, **rest)
            except httpx2.HTTPError as error:
                raise PhoneError(f"{method} {path}: {type(error).__name__} {error}") from error
            if answer.status_code not in _AGAIN:
                return answer
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.2 * 2**attempt)))
        raise PhoneError(f"{method} {path} stayed at {answer.status_code}: {answer.text[:300]}")


def new_client(url: str) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=64, max_keepalive_connections=64)
    return httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(WAIT_SECONDS + 20), limits=limits)


def as_people_say(truth: Iterable[TruthBox]) -> tuple[TruthBox, ...]:
    """The truth under the catalogue's names: a folder's classes may be spelt otherwise."""
    return tuple(TruthBox(normalise(item.label).label, item.bbox) for item in truth)


def _answered(item: dict[str, Any]) -> Answered:
    return Answered(item["label"], BoundingBox(**item["bbox"]) if item.get("bbox") else None)


def _body(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        raise PhoneError(
            f"{answer.request.method} {answer.request.url.path} → {answer.status_code}: {answer.text[:300]}"
        )
    body: dict[str, Any] = answer.json()
    return body
