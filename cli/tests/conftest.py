from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cli.tests.small_gateway import SmallGateway, small_gateway
from savo_cli.commands import app

Savo = Callable[..., Result]


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallGateway]:
    with small_gateway() as gateway:
        monkeypatch.setenv("SAVO_URL", gateway.url)
        yield gateway


@pytest.fixture
def savo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Savo:
    """Runs a `savo` command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "fridge.jpg"
    Image.new("RGB", (200, 100), "grey").save(path)
    return path
