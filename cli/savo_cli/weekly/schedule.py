"""Weekly schedule of the digest inside `savo up`, for hosts without a scheduler of their own.

The week of the first start counts as done. A file keeps the last week that is done, so a restart repeats nothing, and a
host that was off on Monday sends the digest later. The gateway's claim of the week also stops a second sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

__all__ = ["DigestSender", "WeeklySchedule", "is_configured", "iso_week"]

SEND_AT = timedelta(hours=7)
"""After Monday 00:00 UTC."""
CHECK_SECONDS = 600.0
RETRY_SECONDS = 3600.0

Send = Callable[[], Awaitable[str]]
"""Sends the digest. Returns the error in one line; empty if it was sent, by this process or by another."""


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether a mail server and a recipient are set."""
    return bool(environment.get("SMTP_URL") and environment.get("SAVO_DIGEST_TO"))


def iso_week(now: datetime) -> str:
    """Such as 2026-W48. Weeks compare as text."""
    return "{}-W{:02}".format(*now.isocalendar()[:2])


@dataclass(frozen=True)
class WeeklySchedule:
    """Calls `send` once in each ISO week, from Monday 07:00 UTC on."""

    stamp: Path
    """File with the last week that is done."""
    send: Send
    report: Callable[[str], None]
    clock: Callable[[], datetime]

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            is_done = await self.check()
            await asyncio.sleep(CHECK_SECONDS if is_done else RETRY_SECONDS)

    async def check(self) -> bool:
        """Send the digest if it is due. Returns False if it could not be sent, which is then reported."""
        week = iso_week(self.clock() - SEND_AT)  # until Monday 07:00 the week before counts
        try:
            last = self.stamp.read_text().strip() if self.stamp.exists() else ""
            if not last:
                self._write(week)
            if not last or week <= last:
                return True
            error = await self.send()
            if not error:
                self._write(week)
                return True
        except OSError as problem:
            error = f"{self.stamp}: {problem.strerror}"
        self.report(f"the digest of {week} is not sent: {error}; the next attempt is in an hour")
        return False

    def _write(self, week: str) -> None:
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.stamp.with_name(f"{self.stamp.name}.new")
        fresh.write_text(week)
        fresh.replace(self.stamp)


@dataclass(frozen=True)
class DigestSender:
    """Runs `savo digest --send` in a process of its own, which returns its memory.

    Where the gateway asks for a key, it gets one that is revoked after the call.
    """

    gateway_url: str
    environment: Mapping[str, str]
    needs_key: bool

    async def __call__(self) -> str:
        key = await self._created_key() if self.needs_key else None
        if key == "":
            return "no API key could be created: see `savo keys create`"
        try:
            own = {"SAVO_URL": self.gateway_url} | ({"SAVO_API_KEY": key} if key else {})
            code, _, errors = await self._savo(own, "digest", "--send")
            return "" if code == 0 else (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        finally:
            if key:
                await self._savo({}, "keys", "revoke", key)

    async def _created_key(self) -> str:
        scopes = ("--scope", "training", "--scope", "ops")
        code, output, _ = await self._savo({}, "keys", "create", "weekly digest", *scopes, "--json")
        with contextlib.suppress(ValueError, KeyError):
            return str(json.loads(output)["key"]) if code == 0 else ""
        return ""

    async def _savo(self, more: Mapping[str, str], *arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "savo_cli", *arguments),
            env={**self.environment, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            raise
        return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
