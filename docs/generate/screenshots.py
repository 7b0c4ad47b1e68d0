"""Generator of the documentation's screenshots, taken from the running product in Chromium: `make screenshots`.

It starts `savo up` with the stand-in for Google on generated scenes, uploads a photo through the phone page and writes
`docs/images/phone-page.png`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import draw_scenes
from tests.parts.wheel import running_wheel

WIDTH, MARGIN = 390, 16
"""Pixels of the page."""

PICTURE = Path(__file__).parents[1] / "images/phone-page.png"


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("Chromium is not installed; install it with scripts/system-packages")
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder) / "scenes"
        write_scenes(truth, draw_scenes(3, seed=1))
        photo = min((truth / "images").iterdir())
        with running_wheel(Path(folder) / "savo", truth, {"SAVO_COLLECT_TRAINING_DATA": "true"}) as wheel:
            _take(chromium, wheel.url, photo)
    print(f"wrote {PICTURE}")


def _take(chromium: str, url: str, photo: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 844}, device_scale_factor=2)
        page.goto(url)
        page.set_input_files("#photo", photo)
        page.locator(".box").first.wait_for(timeout=60_000)
        last = page.get_by_role("button", name="Draw a box").bounding_box()
        assert last is not None
        height = last["y"] + last["height"] + MARGIN
        page.screenshot(path=PICTURE, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
        browser.close()


if __name__ == "__main__":
    main()
