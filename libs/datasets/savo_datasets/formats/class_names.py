"""Class names of a data set in YOLO form: classes.txt, or `names` of a data.yaml.

The position of a name is its class id in every label file, so names that leave a doubt are refused with file, line and
value: an id without a name, a name that YAML reads as a number, a date or a truth value, and an `nc` that is not the
number of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from savo_datasets.errors import DatasetError

__all__ = ["names_in_lines", "names_in_yaml"]

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_DIGITS = re.compile(r"[0-9]{1,9}")
_EXPECTED = "names must be a list, or a mapping of class ids to names"


def names_in_lines(path: Path, text: str) -> tuple[str, ...]:
    """Names in the lines of a classes.txt, without empty lines at its end.

    Raises `DatasetError` for a name that occurs twice, and for an empty line before a name: the ids after it differ by
    one between programs that skip it and programs that count it.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.rstrip().splitlines(), start=1)]
    if empty := [number for number, name in lines if not name]:
        raise DatasetError(
            f"{path}:{empty[0]} has no name, so class id {empty[0] - 1} is unclear: name it, or remove the line"
        )
    _refuse_repeated(path, lines)
    return tuple(name for _, name in lines)


def names_in_yaml(path: Path, root: yaml.Node | None) -> tuple[str, ...]:
    """Names in the composed content of a data.yaml, in order of their ids; empty where it has none.

    Raises `DatasetError`.
    """
    node = _value(root, "names")
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
        return ()
    if isinstance(node, yaml.SequenceNode):
        items = list(enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        items = _in_order(path, node)
    else:
        raise DatasetError(f"{path}:{_line(node)}: {_EXPECTED}")
    names = [(_line(value), _name(path, class_id, value)) for class_id, value in items]
    _refuse_repeated(path, names)
    _check_count(path, root, len(names))
    return tuple(name for _, name in names)


def _value(root: yaml.Node | None, key: str) -> yaml.Node | None:
    """The value of a key of a mapping."""
    if not isinstance(root, yaml.MappingNode):
        return None
    return next((value for name, value in root.value if isinstance(name, yaml.ScalarNode) and name.value == key), None)


def _in_order(path: Path, node: yaml.MappingNode) -> list[tuple[int, yaml.Node]]:
    """Class ids and their names, sorted by number. Ids in quotes are numbers too."""
    found: dict[int, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not _DIGITS.fullmatch(key.value):
            raise DatasetError(f"{path}:{_line(key)}: {_EXPECTED}; {_shown(key)} is no class id")
        class_id = int(key.value)
        if class_id in found:
            raise DatasetError(f"{path}:{_line(key)}: class id {class_id} has two names")
        found[class_id] = (key, value)
    for expected, class_id in enumerate(sorted(found)):
        if class_id != expected:
            key, value = found[class_id]
            raise DatasetError(
                f"{path}:{_line(key)}: names has class id {class_id} ({_shown(value)}), but no id {expected}: "
                f"give each id from 0 to {max(found)} a name"
            )
    return [(class_id, found[class_id][1]) for class_id in sorted(found)]


def _name(path: Path, class_id: int, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag != _TEXT:
        raise DatasetError(f"{path}:{_line(node)}: name {class_id} is not text: put {_shown(node)} in quotes")
    if not node.value.strip():
        raise DatasetError(f"{path}:{_line(node)}: name {class_id} is empty")
    return str(node.value)


def _check_count(path: Path, root: yaml.Node | None, count: int) -> None:
    node = _value(root, "nc")
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL):
        return
    stated = node.value if isinstance(node, yaml.ScalarNode) else None
    if stated is None or not _DIGITS.fullmatch(stated) or int(stated) != count:
        raise DatasetError(f"{path}:{_line(node)}: nc is {_shown(node)}, but names has {count}")


def _refuse_repeated(path: Path, names: Iterable[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for line, name in names:
        if name in seen:
            raise DatasetError(f"{path}:{line}: the name {name!r} occurs twice: first in line {seen[name]}")
        seen[name] = line


def _shown(node: yaml.Node) -> str:
    """The value as the file has it, on one line."""
    return node.value[:60] if isinstance(node, yaml.ScalarNode) else f"a {type(node).__name__}"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
