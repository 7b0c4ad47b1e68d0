"""The weekly digest inside `savo up`: when it is sent, and what a restart or a failure changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from savo_cli.weekly.schedule import WeeklySchedule, is_configured, iso_week

WEDNESDAY = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MONDAY = datetime(2026, 11, 30, 0, 0, tzinfo=UTC)


class Host:
    """A host with a clock that tests set. `start` makes a schedule on the same disk, as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.now = WEDNESDAY
        self.sent: list[str] = []
        self.reported: list[str] = []
        self.error = ""
        self._stamp = folder / "savo" / "digest-week"

    def start(self) -> WeeklySchedule:
        return WeeklySchedule(self._stamp, self._send, self.reported.append, lambda: self.now)

    async def _send(self) -> str:
        if not self.error:
            self.sent.append(iso_week(self.now))
        return self.error


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_it_is_sent_once_a_week_from_monday_at_seven(host: Host) -> None:
    schedule = host.start()
    for _ in range(20 * 24):
        assert await schedule.check()
        host.now += timedelta(hours=1)
    assert host.sent == ["2026-W49", "2026-W50", "2026-W51"], "the week of the first start counts as done"


async def test_it_is_not_sent_before_monday_at_seven(host: Host) -> None:
    schedule = host.start()
    await schedule.check()
    for now, sent in ((MONDAY + timedelta(hours=6, minutes=59), []), (MONDAY + timedelta(hours=7), ["2026-W49"])):
        host.now = now
        await schedule.check()
        assert host.sent == sent


async def test_a_restart_repeats_nothing_and_forgets_nothing(host: Host) -> None:
    await host.start().check()
    host.now = MONDAY + timedelta(days=2)  # the host was off on Monday
    for _ in range(3):
        await host.start().check()
    assert host.sent == ["2026-W49"]


async def test_a_failure_is_reported_and_repeated(host: Host) -> None:
    schedule = host.start()
    await schedule.check()
    host.now, host.error = MONDAY + timedelta(hours=8), "the mail server mail.example.com:25 did not accept the mail"
    assert not await schedule.check()
    assert host.reported == [f"the digest of 2026-W49 is not sent: {host.error}; the next attempt is in an hour"]
    host.error = ""
    assert await schedule.check()
    assert host.sent == ["2026-W49"]


async def test_a_clock_that_is_set_back_repeats_nothing(host: Host) -> None:
    schedule = host.start()
    await schedule.check()
    host.now = MONDAY + timedelta(hours=8)
    await schedule.check()
    host.now = WEDNESDAY
    await schedule.check()
    assert host.sent == ["2026-W49"]


def test_it_needs_a_server_and_a_recipient() -> None:
    server, recipient = {"SMTP_URL": "smtp://mail.example.com"}, {"SAVO_DIGEST_TO": "owner@example.com"}
    assert is_configured(server | recipient)
    assert not is_configured(server)
    assert not is_configured(recipient)
