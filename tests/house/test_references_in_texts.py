"""References in texts: files, links, commands and web paths in documents and messages exist."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from savo_cli.commands import add_commands_of_others, app

ROOT = Path(__file__).parents[2]

FILE = re.compile(
    r"(?<![\w./-])((?:docs|deploy|libs|services|cli|demo|tests|scripts|benchmarks)/[\w./-]*\w\.(?:md|py|ya?ml|json|toml|sql|csv|sh))\b"
)
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"`(?:\.venv/bin/)?savo ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
WEB_PATH = re.compile(r"(?:(?<=[\s`(])|(?<=url}))/([a-z][a-z0-9-]*)(?:/[\w{}.:-]+)*(?=[\s`).,;:?]|$)")

SERVED = {
    "v1", "api", "inventory", "health", "training", "admin", "docs", "openapi.json", "asyncapi", "page",  # gateway
    "metrics", "livez", "readyz",  # every service
    "rollout",  # rollout
    "runs", "models",  # trainer
    "v1beta",  # the stand-in for Google
}  # fmt: skip
SYSTEM_FOLDERS = {"backup", "data", "dev", "etc", "home", "opt", "proc", "root", "sys", "tmp", "usr", "var"}


@cache
def texts() -> dict[str, list[str]]:
    """Texts by file: a whole document, or the strings with spaces of a Python module, docstrings included."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = {}
    for name in tracked:
        path = ROOT / name
        if {"tests", "benchmarks", "grafana"} & set(path.parts) or not path.exists():
            continue
        if path.suffix in {".md", ".html", ".txt", ".js"} and path.name != "CHANGELOG.md":
            found[name] = [path.read_text(encoding="utf-8")]
        elif path.suffix == ".py" and "versions" not in path.parts:
            found[name] = list(sentences(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def sentences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(text_of(part) for part in node.values)


def text_of(part: ast.expr) -> str:
    """Text of an f-string, with `{name}` for a value."""
    if isinstance(part, ast.FormattedValue):
        return f"{{{ast.unparse(part.value)}}}"
    assert isinstance(part, ast.Constant)
    return str(part.value)


def references(pattern: re.Pattern[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, parts in texts().items():
        for part in parts:
            for match in pattern.finditer(part):
                yield name, match.groups()


def test_referenced_files_exist() -> None:
    """Paths are relative to the repository's root or to the document's folder. NAME is a placeholder."""
    named_files = {(name, file) for name, (file,) in references(FILE) if "NAME" not in file}
    assert sorted(f"{name}: {file}" for name, file in named_files if not exists(name, file)) == []


def exists(name: str, file: str) -> bool:
    return (ROOT / file).exists() or ((ROOT / name).parent / file).exists()


@pytest.mark.parametrize("name", [name for name in texts() if name.endswith(".md")])
def test_links_have_a_target(name: str) -> None:
    missing = {
        f"{file}#{anchor or ''}"
        for file, anchor in LINK.findall(texts()[name][0])
        if not target_exists(ROOT / name, file, anchor)
    }
    assert sorted(missing) == []


def target_exists(document: Path, file: str, anchor: str) -> bool:
    if file.startswith(("http:", "https:", "mailto:")):
        return True
    target = document.parent / file if file else document
    if not target.exists() or not anchor or target.suffix != ".md":
        return target.exists()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_referenced_commands_exist() -> None:
    add_commands_of_others()
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    missing = {
        f"{name}: savo {' '.join(filter(None, parts))}"
        for name, parts in references(COMMAND)
        if not is_command(root, *parts)
    }
    assert sorted(missing) == []


def is_command(root: TyperGroup, name: str, subcommand: str | None) -> bool:
    command = root.commands.get(name)
    if isinstance(command, TyperGroup):
        return subcommand is None or subcommand in command.commands
    return command is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('help = "Look at the newest samples in /review: wrong labels"', "review"),
        ('print(f"still running: {product.url}/dashboard, end it with")', "dashboard"),
        ('print(f"written to {folder}/report for you")', None),
        ('"one and/or the other, at 10 images/s"', None),
    ],
)
def test_a_web_path_is_found_in_a_message(text: str, found: str | None) -> None:
    message = max(sentences(ast.parse(text)), key=len)
    match = WEB_PATH.search(message)
    assert (match and match.group(1)) == found


def test_referenced_web_paths_are_served() -> None:
    missing = {f"{name}: /{first}" for name, (first,) in references(WEB_PATH) if first not in SERVED | SYSTEM_FOLDERS}
    assert sorted(missing) == []
