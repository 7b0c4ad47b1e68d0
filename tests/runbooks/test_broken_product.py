"""The product is broken on purpose, three times; the runbook's own commands show why, mend it, and the alert goes quiet."""

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
from savo_demo.phones import Phones, ScanOutcome, Upload, new_client
from tests.monitoring.boards import ROOT, Alert, alerts
from tests.parts.interventions import held_write_lock, register, send
from tests.parts.prometheus import Prometheus, running_prometheus
from tests.parts.wheel import Wheel, running_wheel
from tests.runbooks.pages import PAGES, Page, Shell, sooner

ALWAYS_AN_APPLE = constant_model(raw_rows([(8, 8, 40, 40, 0, 0.9)], len(NAMES)))
"""Sure of itself, and wrong."""

SETTINGS = {
    "SAVO_ROLLOUT_MIN_CONFIRMED": "10000",
    "SAVO_ROLLOUT_ALPHA": "0.5",
    "SAVO_ROLLOUT_MIN_DAYS_PER_STEP": "0",
    "SAVO_RATE_LIMIT_PER_MINUTE": "0",
}
SETTINGS |= {"SAVO_STORAGE_LIMIT_GB": "1", "SAVO_GOOGLE_DAILY_BUDGET_USD": "100"}
WITHIN = 200.0
PEOPLE = count()

pytestmark = [
    pytest.mark.real,
    pytest.mark.prometheus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass
class Product:
    shell: Shell
    phones: Phones
    scenes: Iterator[Scene]

    @property
    def wheel(self) -> Wheel:
        return self.shell.wheel

    @property
    def prometheus(self) -> Prometheus:
        return self.shell.prometheus

    async def scan(self, number: int) -> list[ScanOutcome]:
        visits: list[ScanOutcome] = []
        chosen = [next(self.scenes) for _ in range(number)]
        await self.phones.run(
            (Upload(f"user-{next(PEOPLE)}", scene.jpeg, scene.truth) for scene in chosen), visits.append
        )
        return visits


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
    rules = {"alerts.yml": sooner((ROOT / "deploy/prometheus/alerts.yml").read_text())}
    errorless = ("--standin-option=--errors", "--standin-option=0")
    with (
        running_prometheus(config, folder / "prometheus", rules) as prometheus,
        running_wheel(folder / ".savo", folder / "truth", SETTINGS, *errorless, latency_scale=0.02) as wheel,
    ):
        until(lambda: len(prometheus.query('up{job="savo"} == 1')) == 6, "six services scraped")
        async with new_client(wheel.url) as client:
            yield Product(Shell(wheel, prometheus), Phones(client, random.Random(9), at_once=4), cycle(scenes))


async def test_every_runbooks_questions_are_answered_by_a_product_that_is_well(product: Product) -> None:
    assert all(visit.confirmed for visit in await product.scan(3))
    for name in PAGES:
        product.shell.walk(Page(name), "Find the cause")
        product.shell.walk(Page(name), "It is fixed when")


async def test_a_stuck_partition(product: Product) -> None:
    page, alert = Page("consumer-stuck"), named("ConsumerStuck")
    with held_write_lock(product.wheel.data_dir / "db/collector.sqlite3") as holder:
        await product.scan(2)
        until(lambda: speaks(product, alert), "the alert speaks")
        until(lambda: "is down" in product.shell.run(page.commands("Find the cause")[2]), "readiness says why")
        found = product.shell.walk(page, "Find the cause")
        lag, _, ready, paused, log, holders = found.values()
        assert re.search(r"scans\.confirmed +collector", lag)
        assert "database is down" in ready
        assert re.search("database is locked|held the write lock", ready + log)
        assert 'cause="dependency"' in paused
        suspects = [line for line in holders.splitlines() if "savo_runtime" not in line]
        assert [line.split(":")[0] for line in suspects] == [f"pid {holder.pid}"]
        assert "kill PID" in page.commands("Fix it", outside=True)
        product.shell.run(f"kill {suspects[0].split(':')[0].removeprefix('pid ')}")
        until(
            lambda: product.shell.walk(page, "It is fixed when")["savo topics lag"].strip() == "nothing waits",
            "nothing waits",
        )
        until(lambda: not speaks(product, alert), "the alert is quiet")


async def test_a_poison_message(product: Product) -> None:
    page, alert = Page("dead-letters"), named("DeadLetters")
    assert not speaks(product, alert)
    await send(
        product.wheel, "scans.requested", b'{"photo": "whatever the old tool wrote"}', [("ce_source", b"old-tool")]
    )
    until(lambda: speaks(product, alert), "the alert speaks")
    found = product.shell.walk(page, "Find the cause")
    counted, shown, whole, _ = found.values()
    assert re.search(r"scans\.requested.*vision", counted)
    assert "old-tool" in shown + whole
    assert "whatever the old tool wrote" in shown + whole
    assert all(visit.confirmed for visit in await product.scan(1)), "the topic goes on"
    mended = product.shell.walk(page, "Fix it")
    assert "1" in mended["savo dlq redrive --all --dry-run"]
    until(lambda: not speaks(product, alert), "the alert is quiet")
    assert product.shell.walk(page, "It is fixed when")[page.commands("It is fixed when")[1]].strip() == ""


async def test_a_bad_model(product: Product) -> None:
    page, alert = Page("share-fell-to-zero"), named("ShareFellToZero")
    assert not speaks(product, alert)
    await register(product.wheel, "v1", ALWAYS_AN_APPLE, NAMES)
    until(lambda: '"experiment": "v1"' in product.shell.run("savo rollout show --json"), "v1 on trial")
    product.shell.run('savo rollout set 0.5 --reason "half of the traffic at once" --by test')
    product.shell.run('savo rollout resume --reason "by the evidence" --by test')
    until(
        lambda: product.prometheus.query('savo_rollout_share{service="vision"}')[0][1] == 0.5, "vision sends half to v1"
    )
    visits: list[ScanOutcome] = []
    for _ in range(12):
        visits += await product.scan(8)
        if speaks(product, alert):
            break
    until(lambda: speaks(product, alert), "the alert speaks")
    shown, audit, changes, _, corrected = product.shell.walk(page, "Find the cause").values()
    assert "accuracy" in shown
    assert "v1" in shown
    assert "v1 back to 0 at 50%" in changes
    assert "half of the traffic at once" in changes + audit
    assert '"apple"' in corrected
    assert '"removed"' in corrected or '"renamed"' in corrected
    assert {visit.served_by for visit in await product.scan(4)} == {"google"}, "the baseline answers everybody"
    await register(product.wheel, "v2", ALWAYS_AN_APPLE, NAMES)
    until(
        lambda: "v2" in product.shell.walk(page, "It is fixed when")["savo rollout show"],
        "the next candidate is on trial",
    )
    until(lambda: not speaks(product, alert), "the alert is quiet")


def named(name: str) -> Alert:
    return next(alert for alert in alerts() if alert.name == name)


def speaks(product: Product, alert: Alert) -> bool:
    """Whether the alert's expression has an answer now, with its windows made short."""
    return bool(product.prometheus.query(sooner(alert.expression)))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN:g} s: {what}"
        time.sleep(0.5)
