"""Public names of `savo_detection`, and the packages that importing them loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import savo_detection

LOADED = """
import json, sys
{code}
print(json.dumps(sorted({{"numpy", "cv2", "PIL", "onnx", "onnxruntime", "openvino"}} & set(sys.modules))))
"""


def loaded_by(code: str) -> list[str]:
    """Which of the large packages are imported in a new process that runs `code`."""
    command = [sys.executable, "-c", LOADED.format(code=code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def names_for_type_checkers() -> dict[str, str]:
    """Module of each name that is imported under `if TYPE_CHECKING`."""
    tree = ast.parse(Path(savo_detection.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_public_names_equal_their_declarations_for_type_checkers() -> None:
    public = {name: getattr(savo_detection, name) for name in savo_detection.__all__}
    assert set(public) == set(names_for_type_checkers()) == set(savo_detection._MODULES)
    assert names_for_type_checkers() == savo_detection._MODULES
    for name, module in savo_detection._MODULES.items():
        assert public[name] is getattr(sys.modules[module], name)
        assert name in dir(savo_detection)


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'savo_detection' has no attribute 'detect'"):
        savo_detection.detect  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_no_large_package() -> None:
    assert loaded_by("import savo_detection; savo_detection.PhotoError; savo_detection.ModelRefusedError") == []


def test_reading_photos_loads_no_inference_engine() -> None:
    assert loaded_by("from savo_detection import decode, probe") == ["PIL", "cv2", "numpy"]
