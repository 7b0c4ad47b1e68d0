"""The phone page in a real browser: a photo in, boxes seen, one name mended, confirmed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from playwright.async_api import Page, async_playwright, expect

from savo_contracts.scans import Action, ScanConfirmed, ScanRequested
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.house import House
from services.gateway.tests.photos import photo
from tests.parts.table import record

pytestmark = pytest.mark.browser


@pytest.fixture
async def address(house: House) -> AsyncIterator[str]:
    """The gateway on a socket."""
    server = uvicorn.Server(uvicorn.Config(cast(Any, house.service.app), port=0, log_level="error", ws="none"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        record("Chromium", "skipped", "no chromium on this machine")
        pytest.skip("no chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        record("Chromium", "real", browser.version)
        page = await browser.new_page(viewport={"width": 390, "height": 800}, has_touch=True)
        yield page
        await browser.close()


async def test_a_photo_is_sent_seen_mended_and_confirmed_on_a_phone(house: House, address: str, page: Page, tmp_path: Path) -> None:
    flaws: list[str] = []
    page.on("pageerror", lambda flaw: flaws.append(str(flaw)))
    page.on("console", lambda line: flaws.append(line.text) if line.type == "error" else None)
    (tmp_path / "fridge.jpg").write_bytes(photo(320, 240))
    await page.goto(address)
    await page.set_input_files("#photo", tmp_path / "fridge.jpg")
    while not (sent := await house.published(ScanRequested)):
        await asyncio.sleep(0.02)
    await house.hear(completed(sent[0], tomato(0.1), tomato(0.6, "cherry_tomato")))
    await expect(page.locator(".box")).to_have_count(2)
    box = await page.locator(".box").first.bounding_box()
    shown = await page.locator("#shown").bounding_box()
    assert box is not None
    assert shown is not None
    assert abs((box["x"] - shown["x"]) / shown["width"] - 0.1) < 0.01
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing reaches past the phone's edge"
    await page.get_by_label("Ingredient").nth(1).fill("Plums")
    await page.get_by_role("button", name="Add something").click()
    await page.get_by_label("Ingredient").nth(2).fill("milk")
    await page.get_by_role("button", name="This is right").click()
    await expect(page.get_by_role("status")).to_contain_text("Thank you")
    (event,) = await house.published(ScanConfirmed)
    assert [(item.label, item.action) for item in event.items] == [("tomato", Action.KEPT), ("plum", Action.RENAMED), ("milk", Action.ADDED)]
    assert flaws == []


async def test_a_refused_photo_is_explained(address: str, page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("no photo at all")
    await page.goto(address)
    await page.set_input_files("#photo", tmp_path / "letter.jpg")
    await expect(page.get_by_role("status")).to_contain_text("no photo of a type that is taken")
