"""The phone page in a real browser: send a photo, correct items, move and draw boxes, confirm."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pillow_heif
import pytest
import uvicorn
from PIL import Image
from playwright.async_api import Page, async_playwright, expect

from savo_contracts.scans import Action, BoxSource, ScanConfirmed, ScanRequested
from savo_gateway.access.api_keys import create_key
from savo_gateway.access.records import Scope
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.http.page_routes import PageOptions
from services.gateway.tests.events import completed, tomato
from services.gateway.tests.harness import GatewayHarness
from services.gateway.tests.photos import photo
from tests.parts.parts_table import record

pytestmark = pytest.mark.browser

_OWN_ADDRESSES = ("http://127.0.0.1", "blob:", "data:")
STANDIN = {"model_version": "standin-gemini-3.5-flash", "served_by": "google", "assigned_arm": "baseline"}


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    return {"collect_training_data": True}


@pytest.fixture
async def address(gateway: GatewayHarness) -> AsyncIterator[str]:
    """The gateway on a socket."""
    server = uvicorn.Server(uvicorn.Config(cast(Any, gateway.service.app), port=0, log_level="error", ws="none"))
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
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith(_OWN_ADDRESSES) else problems.append(request.url),
        )
        yield page
        assert problems == [], "no script error, and no request to another host"
        await browser.close()


async def sent(gateway: GatewayHarness, page: Page, file: Path, number: int = 1) -> ScanRequested:
    await page.set_input_files("#photo", file)
    while len(found := await gateway.published(ScanRequested)) < number:
        await asyncio.sleep(0.02)
    return cast(ScanRequested, found[-1])


async def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with a mouse between two points in 0…1 of the photo."""
    photo = await page.locator("#shown").bounding_box()
    assert photo is not None
    (x, y), (to_x, to_y) = (
        ((photo["x"] + at[0] * photo["width"]), (photo["y"] + at[1] * photo["height"])) for at in (start, end)
    )
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move((x + to_x) / 2, (y + to_y) / 2)
    await page.mouse.move(to_x, to_y)
    await page.mouse.up()


async def swipe(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Swipe with a finger between two points in 0…1 of the photo."""
    photo = await page.locator("#shown").bounding_box()
    assert photo is not None
    session = await page.context.new_cdp_session(page)
    for kind, at in (
        ("touchStart", start),
        ("touchMove", ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)),
        ("touchMove", end),
        ("touchEnd", None),
    ):
        points = [{"x": photo["x"] + at[0] * photo["width"], "y": photo["y"] + at[1] * photo["height"]}] if at else []
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


LABELS_INSIDE_PHOTO = """() => {
  const photo = document.querySelector("#shown").getBoundingClientRect();
  const labels = [...document.querySelectorAll(".tag")].map((tag) => tag.getBoundingClientRect());
  return labels.every((at) => at.left >= photo.left - 1 && at.right <= photo.right + 1 && at.top >= photo.top - 1);
}"""


def near(found: Any, *sides: float) -> bool:
    return all(
        abs(value - side) < 0.02
        for value, side in zip((found.x, found.y, found.width, found.height), sides, strict=True)
    )


async def test_a_photo_is_sent_corrected_and_confirmed_on_a_phone(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "fridge.jpg").write_bytes(photo(320, 240))
    await page.goto(address)
    choose = await page.locator("#choose").bounding_box()
    assert choose is not None
    assert choose["height"] <= 48
    requested = await sent(gateway, page, tmp_path / "fridge.jpg")
    await gateway.deliver(completed(requested, tomato(0.1), tomato(0.6, "cherry_tomato")))
    await expect(page.locator(".box")).to_have_count(2)
    await expect(page.locator("#served")).to_contain_text("Answered by Savo's own model v2")
    box = await page.locator(".box").first.bounding_box()
    shown = await page.locator("#shown").bounding_box()
    assert box is not None
    assert shown is not None
    assert abs((box["x"] - shown["x"]) / shown["width"] - 0.1) < 0.01
    assert await page.evaluate(LABELS_INSIDE_PHOTO), "no label is cut at the edge of the photo"
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "nothing is wider than the phone's screen"
    )
    await page.get_by_label("Ingredient").nth(1).fill("Plums")
    await page.get_by_role("button", name="Add an item").click()
    await page.get_by_label("Ingredient").nth(2).fill("milk")
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("status")).to_contain_text("needs a box around milk")
    await expect(page.get_by_role("button", name="Confirmed")).to_be_disabled()
    (event,) = await gateway.published(ScanConfirmed)
    assert [(item.label, item.action) for item in event.items] == [
        ("tomato", Action.KEPT),
        ("plum", Action.RENAMED),
        ("milk", Action.ADDED),
    ]

    await page.get_by_role("button", name="Draw a box").click()
    await swipe(page, (0.4, 0.5), (0.55, 0.8))
    await page.get_by_label("Box of tomato").tap()
    await swipe(page, (0.2, 0.2), (0.25, 0.4))
    await page.get_by_role("button", name="Draw a box").click()
    await swipe(page, (0.8, 0.6), (0.95, 0.9))
    await page.get_by_label("Ingredient").nth(3).fill("butter")
    await page.get_by_role("button", name="Save the change").click()
    await expect(page.get_by_role("status")).to_contain_text("The photo can train the next model.")
    event = (await gateway.published(ScanConfirmed))[-1]
    assert [(item.label, item.action) for item in event.items] == [
        ("tomato", Action.MOVED),
        ("plum", Action.RENAMED),
        ("milk", Action.ADDED),
        ("butter", Action.ADDED),
    ]
    assert near(event.items[0].bbox, 0.15, 0.3, 0.2, 0.2)
    assert near(event.items[3].bbox, 0.8, 0.6, 0.15, 0.3)
    await expect(page.locator("#next")).to_be_visible()


async def test_boxes_are_moved_drawn_and_removed_with_a_mouse_and_with_keys(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    await page.set_viewport_size({"width": 1280, "height": 1000})
    (tmp_path / "shelf.jpg").write_bytes(photo(640, 480))
    await page.goto(address)
    requested = await sent(gateway, page, tmp_path / "shelf.jpg")
    await gateway.deliver(
        completed(requested, tomato(0.1), tomato(0.4, "egg"), tomato(0.7, "apple"), tomato(None, "milk"))
    )
    await expect(page.locator(".box")).to_have_count(3)
    await drag(page, (0.2, 0.2), (0.2, 0.6))  # the tomato, by the middle of its box
    await page.get_by_label("Box of egg").click()
    await drag(page, (0.599, 0.298), (0.699, 0.598))  # by its lower right corner
    await page.get_by_label("Ingredient").nth(1).fill("Lemon")
    await page.get_by_role("button", name="Remove").nth(2).click()
    await page.get_by_role("button", name="Add a box").click()
    await expect(page.locator(".box.draft")).to_have_count(1)
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight"):
        await page.keyboard.press(key)
    await expect(page.locator(".box.draft")).to_have_count(0)
    await drag(page, (0.02, 0.8), (0.12, 0.95))
    await page.get_by_label("Ingredient").nth(4).fill("salt")
    await page.get_by_label("the photo shows more than is listed").check()
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("status")).to_contain_text("never test one")
    (event,) = await gateway.published(ScanConfirmed)
    by_name = {item.label: item for item in event.items}
    assert [(item.label, item.action) for item in event.items] == [
        ("tomato", Action.MOVED),
        ("lemon", Action.RENAMED),
        ("apple", Action.REMOVED),
        ("milk", Action.KEPT),
        ("salt", Action.ADDED),
    ]
    assert not event.nothing_missing
    assert near(by_name["tomato"].bbox, 0.1, 0.5, 0.2, 0.2)
    assert near(by_name["lemon"].bbox, 0.4, 0.1, 0.3, 0.5)
    assert near(by_name["milk"].bbox, 0.36, 0.36, 0.31, 0.3)
    assert near(by_name["salt"].bbox, 0.02, 0.8, 0.1, 0.15)
    assert {item.box_source for item in event.items if item.action is not Action.REMOVED} == {BoxSource.USER}


async def test_an_answer_of_the_stand_in_is_marked_as_such(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "fridge.jpg").write_bytes(photo(320, 240))
    await page.goto(address)
    requested = await sent(gateway, page, tmp_path / "fridge.jpg")
    await gateway.deliver(completed(requested, **STANDIN))
    await expect(page.locator("#served")).to_contain_text("Answered by a stand-in for Google")
    await expect(page.get_by_role("status")).to_contain_text(".savo/standin/images")


async def test_the_page_asks_for_consent_where_it_is_required(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    gateway.replace_provided(replace(gateway.provided(PageOptions), asks_consent=True))
    (tmp_path / "fridge.jpg").write_bytes(photo(320, 240))
    await page.goto(address)
    refusing = await sent(gateway, page, tmp_path / "fridge.jpg")
    await gateway.deliver(completed(refusing, tomato(0.1)))
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("status")).to_contain_text("As you chose, the photo is not used for training.")
    await page.get_by_label("my photo may be used to train the next model").check()
    allowing = await sent(gateway, page, tmp_path / "fridge.jpg", number=2)
    assert (refusing.consent, allowing.consent) == (False, True)
    await gateway.deliver(completed(allowing))  # otherwise the page keeps waiting, and so does the gateway's shutdown


async def test_a_heic_photo_is_shown_as_the_stored_jpeg(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    pillow_heif.from_pillow(Image.open(BytesIO(photo(320, 240)))).save(tmp_path / "phone.heic")
    await page.goto(address)
    requested = await sent(gateway, page, tmp_path / "phone.heic")
    await expect(page.locator("#stage")).to_be_hidden()
    await gateway.deliver(completed(requested, tomato(0.1)))
    await expect(page.locator("#stage")).to_be_visible()
    assert await page.locator("#shown").evaluate("photo => [photo.naturalWidth, photo.naturalHeight]") == [320, 240]


async def test_a_refused_photo_shows_the_reason_and_no_broken_picture(address: str, page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo at all")
    await page.goto(address)
    await page.set_input_files("#photo", tmp_path / "text.jpg")
    await expect(page.get_by_role("status")).to_contain_text("not a photo of an accepted type")
    await expect(page.locator("#stage")).to_be_hidden()


async def test_the_api_documentation_is_shown_without_internet(address: str, page: Page) -> None:
    await page.goto(f"{address}/docs")
    await expect(page.locator(".opblock").first).to_be_visible()
    await expect(page.locator(".title").first).to_contain_text("Savo")


@pytest.mark.parametrize("gateway_settings", [{"auth": "api_key", "collect_training_data": True}])
async def test_the_page_asks_for_a_required_key_and_keeps_it_for_the_tab(
    gateway: GatewayHarness, address: str, page: Page, tmp_path: Path
) -> None:
    pillow_heif.from_pillow(Image.open(BytesIO(photo(320, 240)))).save(tmp_path / "phone.heic")
    _, key = await create_key(SqlKeys(gateway.runtime.database), "a phone", [Scope.SCANS], gateway.clock)
    await page.goto(address)
    await page.set_input_files("#photo", tmp_path / "phone.heic")
    await expect(page.get_by_role("alert")).to_contain_text("requires an API key or a token")
    assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "nothing is wider than the phone's screen"
    )
    await page.get_by_label("Key").fill("savo_unknown_key")
    await page.get_by_role("button", name="Use this key").click()
    await expect(page.get_by_role("alert")).to_contain_text("The key was refused: this API key is unknown or revoked")
    assert await gateway.published(ScanRequested) == []
    await page.get_by_label("Key").fill(key)
    await page.get_by_role("button", name="Use this key").click()
    while not (found := await gateway.published(ScanRequested)):
        await asyncio.sleep(0.02)
    assert len(found) == 1
    await gateway.deliver(completed(found[0], tomato(0.1)))
    await expect(page.locator("#stage")).to_be_visible()  # the stored JPEG of the HEIC, fetched with the key
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("status")).to_contain_text("The photo can train the next model.")
    await page.reload()
    await gateway.deliver(completed(await sent(gateway, page, tmp_path / "phone.heic", number=2)))
    await expect(page.locator("#served")).to_be_visible()
    await expect(page.locator("#sign-in")).to_be_hidden()
    await page.get_by_role("button", name="Forget my key").click()
    assert await page.evaluate("sessionStorage.length") == 0
    await expect(page.locator("#forget")).to_be_hidden()
