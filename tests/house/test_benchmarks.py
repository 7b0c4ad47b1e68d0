"""Command `python -m benchmarks`: it lists the benchmarks and runs only the requested ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks.__main__ as command
from benchmarks.__main__ import BENCHMARKS, main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the benchmarks that the command imported to run them. No benchmark really runs."""
    names: list[str] = []

    def module(name: str) -> SimpleNamespace:
        names.append(name.removeprefix("benchmarks."))
        return SimpleNamespace(figures=list)

    monkeypatch.setattr(command, "importlib", SimpleNamespace(import_module=module))
    monkeypatch.setattr(command, "signal", SimpleNamespace(signal=lambda *_: None, SIGTERM=15))
    return names


def test_help_names_every_benchmark_and_runs_none(measured: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert [name for name in BENCHMARKS if name not in shown] == []
    assert measured == []


def test_an_unknown_benchmark_is_refused_with_the_list_of_benchmarks(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["photo_to_boxes", "nonsense"])
    assert ended.value.code == 2
    assert "no benchmark nonsense; the benchmarks are scan_round_trip" in capsys.readouterr().err
    assert measured == []


def test_long_benchmarks_run_only_in_a_long_run_or_by_name(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_LONG", "")
    main([])
    default, measured[:] = list(measured), []
    main(["vision_memory"])
    by_name, measured[:] = list(measured), []
    main(["--long"])
    assert by_name == ["vision_memory"]
    assert default == [name for name in BENCHMARKS if not BENCHMARKS[name].long]
    assert measured == list(BENCHMARKS)


def test_every_benchmark_has_its_module() -> None:
    assert [name for name in BENCHMARKS if "def figures()" not in (ROOT / f"benchmarks/{name}.py").read_text()] == []
