"""Three runbooks on a product that is broken on purpose: their commands show the cause and end the alert."""

from __future__ import annotations

import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle

import pytest
import pytest_asyncio

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import Scene, draw_scenes
from savo_demo.simulated_users import ScanOutcome, SimulatedUsers, Upload, new_client
from tests.monitoring.boards import ROOT, Alert, alerts
from tests.parts.interventions import held_write_lock, register, send
from tests.parts.prometheus import Prometheus, running_prometheus
from tests.parts.wheel import Wheel, running_wheel
from tests.runbooks.pages import PAGES, Page, Shell, shortened

CONSTANT_APPLE = constant_model(raw_rows([(8, 8, 40, 40, 0, 0.9)], len(NAMES)))
"""A confident model with wrong answers."""

SETTINGS = {
    "SAVO_ROLLOUT_MIN_CONFIRMED": "10000",
    "SAVO_ROLLOUT_ALPHA": "0.5",
    "SAVO_ROLLOUT_MIN_DAYS_PER_STEP": "0",
    "SAVO_RATE_LIMIT_PER_MINUTE": "0",
}
SETTINGS |= {"SAVO_STORAGE_LIMIT_GB": "1", "SAVO_GOOGLE_DAILY_BUDGET_USD": "100"}
TIMEOUT_SECONDS = 200.0
USER_NUMBERS = count()

pytestmark = [
    pytest.mark.real,
    pytest.mark.prometheus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Product:
    """A running product with its shell, phones and photos."""

    shell: Shell
    simulated_users: SimulatedUsers
    scenes: Iterator[Scene]

    @property
    def wheel(self) -> Wheel:
        return self.shell.wheel

    @property
    def prometheus(self) -> Prometheus:
        return self.shell.prometheus

    async def scan(self, number: int) -> list[ScanOutcome]:
        outcomes: list[ScanOutcome] = []
        chosen = [next(self.scenes) for _ in range(number)]
        await self.simulated_users.run(
            (Upload(f"user-{next(USER_NUMBERS)}", scene.jpeg, scene.truth) for scene in chosen), outcomes.append
        )
        return outcomes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    folder = tmp_path_factory.mktemp("runbooks")
    scenes = list(draw_scenes(40, seed=9))
    write_scenes(folder / "truth", scenes)
    config = (
        (ROOT / "deploy/prometheus/savo-up.yml")
        .read_text()
        .replace("../../.savo", str(folder / ".savo"))
        .replace(": 5s", ": 1s")
    )
    rules = {"alerts.yml": shortened((ROOT / "deploy/prometheus/alerts.yml").read_text())}
    no_errors = ("--standin-option=--errors", "--standin-option=0")
    with (
        running_prometheus(config, folder / "prometheus", rules) as prometheus,
        running_wheel(folder / ".savo", folder / "truth", SETTINGS, *no_errors, latency_scale=0.02) as wheel,
    ):
        until(lambda: len(prometheus.query('up{job="savo"} == 1')) == 6, "six services scraped")
        async with new_client(wheel.url) as client:
            yield Product(Shell(wheel, prometheus), SimulatedUsers(client, random.Random(9), at_once=4), cycle(scenes))


async def test_the_commands_of_every_runbook_work_on_a_healthy_product(product: Product) -> None:
    assert all(outcome.confirmed for outcome in await product.scan(3))
    for name in PAGES:
        product.shell.run_part(Page(name), "Find the cause")
        product.shell.run_part(Page(name), "It is fixed when")


async def test_a_stuck_partition(product: Product) -> None:
    page, alert = Page("consumer-stuck"), alert_named("ConsumerStuck")
    with held_write_lock(product.wheel.data_dir / "db/collector.sqlite3") as holder:
        await product.scan(2)
        until(lambda: fires(product, alert), "the alert fires")
        until(lambda: "is down" in product.shell.run(page.commands("Find the cause")[2]), "readiness shows the reason")
        found = product.shell.run_part(page, "Find the cause")
        lag, _, ready, paused, log, holders = found.values()
        assert re.search(r"scans\.confirmed +collector", lag)
        assert "database is down" in ready
        assert re.search("database is locked|no write lock", ready + log)
        assert 'cause="dependency"' in paused
        suspects = [line for line in holders.splitlines() if "savo_runtime" not in line]
        assert [line.split(":")[0] for line in suspects] == [f"pid {holder.pid}"]
        assert "kill PID" in page.commands("Fix it", outside=True)
        product.shell.run(f"kill {suspects[0].split(':')[0].removeprefix('pid ')}")
        until(
            lambda: product.shell.run_part(page, "It is fixed when")["savo topics lag"].strip() == "nothing waits",
            "nothing waits",
        )
        until(lambda: not fires(product, alert), "the alert ends")


async def test_a_poison_message(product: Product) -> None:
    page, alert = Page("dead-letters"), alert_named("DeadLetters")
    assert not fires(product, alert)
    await send(product.wheel, "scans.requested", b'{"photo": "a record of the old tool"}', [("ce_source", b"old-tool")])
    until(lambda: fires(product, alert), "the alert fires")
    found = product.shell.run_part(page, "Find the cause")
    counted, shown, full, _ = found.values()
    assert re.search(r"scans\.requested.*vision", counted)
    assert "old-tool" in shown + full
    assert "a record of the old tool" in shown + full
    assert all(outcome.confirmed for outcome in await product.scan(1)), "later records are processed"
    fixed = product.shell.run_part(page, "Fix it")
    assert "1" in fixed["savo dlq redrive --all --dry-run"]
    until(lambda: not fires(product, alert), "the alert ends")
    assert product.shell.run_part(page, "It is fixed when")[page.commands("It is fixed when")[1]].strip() == ""


async def test_a_bad_model(product: Product) -> None:
    page, alert = Page("share-fell-to-zero"), alert_named("ShareFellToZero")
    assert not fires(product, alert)
    await register(product.wheel, "v1", CONSTANT_APPLE, NAMES)
    until(lambda: '"experiment": "v1"' in product.shell.run("savo rollout show --json"), "v1 on trial")
    product.shell.run('savo rollout set 0.5 --reason "half of the traffic at once" --by test')
    product.shell.run('savo rollout resume --reason "by the evidence" --by test')
    until(
        lambda: product.prometheus.query('savo_rollout_share{service="vision"}')[0][1] == 0.5, "vision sends half to v1"
    )
    outcomes: list[ScanOutcome] = []
    for _ in range(12):
        outcomes += await product.scan(8)
        if fires(product, alert):
            break
    until(lambda: fires(product, alert), "the alert fires")
    shown, audit, changes, _, corrected = product.shell.run_part(page, "Find the cause").values()
    assert "accuracy" in shown
    assert "v1" in shown
    assert "v1 rolled back from 50% to 0" in changes
    assert "half of the traffic at once" in changes + audit
    assert '"apple"' in corrected
    assert '"removed"' in corrected or '"renamed"' in corrected
    assert {outcome.served_by for outcome in await product.scan(4)} == {"google"}, "the baseline answers every scan"
    await register(product.wheel, "v2", CONSTANT_APPLE, NAMES)
    until(
        lambda: "v2" in product.shell.run_part(page, "It is fixed when")["savo rollout show"],
        "the next candidate is on trial",
    )
    until(lambda: not fires(product, alert), "the alert ends")


def alert_named(name: str) -> Alert:
    return next(alert for alert in alerts() if alert.name == name)


def fires(product: Product, alert: Alert) -> bool:
    """Whether the expression of the alert, with short windows, has a result."""
    return bool(product.prometheus.query(shortened(alert.expression)))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_SECONDS:g} s: {what}"
        time.sleep(0.5)
