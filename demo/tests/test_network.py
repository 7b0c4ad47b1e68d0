from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from savo_demo.errors import StageError
from savo_demo.network import write_small_network


def test_the_small_network_is_the_installed_one_with_another_width(tmp_path: Path) -> None:
    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    write_small_network(tmp_path / "small.yaml")
    layers = yaml.safe_load((tmp_path / "small.yaml").read_text())
    assert layers["head"][-1][2] == "Detect"
    assert (layers["width_multiple"], layers["max_channels"], "scales" in layers) == (0.125, 512, False)


def test_without_ultralytics_the_error_names_the_solutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("savo_demo.network.find_spec", lambda _: None)
    with pytest.raises(StageError, match="DEMO_TRAIN=0"):
        write_small_network(tmp_path / "small.yaml")
