"""Import cycles: there is none, at the top of a module, in a function, or for type checking."""

from __future__ import annotations

from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]


def packages() -> list[str]:
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser["importlinter"]["root_packages"].split()


def cycle_in(*names: str) -> list[str]:
    """Modules of one import cycle, each imported by the next; empty when there is none."""
    graph = grimp.build_graph(*names, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_there_is_no_import_cycle() -> None:
    assert cycle_in(*packages()) == []


IMPORTS = {
    "at the top": "from {0} import {1}\n",
    "in a function": "def run():\n    from {0} import {1}\n    return {1}\n",
    "for type checking": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from {0} import {1}\n",
}


@pytest.mark.parametrize("kind", IMPORTS)
def test_a_planted_cycle_is_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"planted_{kind.replace(' ', '_')}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text(f"from {name} import second\n")
    (package / "second.py").write_text(f"import {name}.third\n")
    (package / "third.py").write_text(IMPORTS[kind].format(name, "first"))
    monkeypatch.syspath_prepend(tmp_path)
    assert set(cycle_in(name)) == {f"{name}.{module}" for module in ("first", "second", "third")}


def test_a_chain_of_imports_is_no_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "planted_chain"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from planted_chain import second\n")
    (package / "second.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert cycle_in("planted_chain") == []
