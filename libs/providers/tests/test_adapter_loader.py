"""Tests that no SDK is imported before its provider is chosen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import savo_providers
from savo_providers.adapter_loader import load_adapter
from savo_providers.catalogue import GOOGLE
from savo_runtime.errors import FatalError

WITH_SDK = {"google_sdk", "openai_sdk", "generativeai_sdk"}
MODULES = {path.stem for path in Path(str(savo_providers.__file__)).parent.glob("*.py")} - {"__init__"}
SDKS = ("google.genai", "google.generativeai", "openai")


def test_no_other_module_and_no_service_imports_an_sdk() -> None:
    plain = [f"savo_providers.{name}" for name in sorted(MODULES - WITH_SDK)] + [
        "savo_vision.app",
        "savo_reasoning.app",
    ]
    program = f"import sys\nfor name in {plain}: __import__(name)\nprint([sdk for sdk in {SDKS} if sdk in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_sdk_raises_an_error_that_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_service").mkdir()
    (tmp_path / "a_service" / "google.py").write_text("import an_sdk_that_is_not_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        FatalError, match=r"Google needs the package an_sdk_that_is_not_here, .* install savo-providers\[google\]"
    ):
        load_adapter("a_service", "google", GOOGLE)


def test_a_missing_adapter_raises_the_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"savo_vision\.adapters\.missing"):
        load_adapter("savo_vision.adapters", "missing", GOOGLE)
