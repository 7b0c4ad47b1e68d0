"""The small network of the demo: the installed YOLOv8 at an eighth of its width, with at most 512 channels.

It trains in a minute on two cores. For ten ingredients and few epochs it is more accurate than a wider network.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import yaml

from savo_demo.errors import StageError

__all__ = ["write_small_network"]

DEPTH, WIDTH, MAX_CHANNELS = 0.33, 0.125, 512


def write_small_network(target: Path) -> None:
    """Write the network's YAML from the one that ultralytics installs. Raises `StageError` if it is not installed."""
    package = find_spec("ultralytics")
    if package is None or package.origin is None:
        raise StageError(
            "training needs torch and ultralytics: install them with `make install`, or set DEMO_TRAIN=0", "trainer"
        )
    layers = yaml.safe_load((Path(package.origin).parent / "cfg/models/v8/yolov8.yaml").read_text(encoding="utf-8"))
    del layers["scales"]
    layers |= {"depth_multiple": DEPTH, "width_multiple": WIDTH, "max_channels": MAX_CHANNELS}
    target.write_text(yaml.safe_dump(layers), encoding="utf-8")
