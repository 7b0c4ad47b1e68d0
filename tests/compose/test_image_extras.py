"""Optional parts of an image: vision with Google's older SDK."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from tests.compose.stack import BUILD_SECONDS, ROOT, why_no_stack

pytestmark = [pytest.mark.real, pytest.mark.timeout(BUILD_SECONDS)]


@pytest.fixture
def tag() -> Iterator[str]:
    if reason := why_no_stack():
        pytest.skip(reason)
    tag = f"test-{secrets.token_hex(4)}"
    yield tag
    subprocess.run(["docker", "image", "rm", "--force", f"savo-vision:{tag}"], check=True, capture_output=True)


def test_vision_s_image_gets_the_older_google_sdk_by_a_build_argument_and_its_size_is_printed(tag: str) -> None:
    built = subprocess.run(
        [str(ROOT / "deploy/docker/images"), "vision"],
        env=os.environ | {"EXTRAS": "generativeai", "IMAGE_TAG": tag},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert re.fullmatch(rf"savo-vision:{tag} with generativeai +\d+ MB\n", built.stdout)
    adapter = "savo_vision.adapters.google_legacy"
    program = f"import google.generativeai, {adapter}; print({adapter}.__name__)"
    run = ["docker", "run", "--rm", "--network=none", f"savo-vision:{tag}", "python", "-W", "ignore", "-c", program]
    imported = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (imported.stdout, imported.returncode) == (f"{adapter}\n", 0), imported.stderr
