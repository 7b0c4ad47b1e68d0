"""Command-line options that select records, shared by the commands that read topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from savo_cli.gateway import Gateway
from savo_contracts.topics import TOPICS, Topic
from savo_operations.replay.field_conditions import check_condition
from savo_operations.replay.selection import ConditionError, Selection, parse_condition
from savo_runtime.command_line.output import CommandError, WrongUseError

__all__ = ["ScanIds", "Subjects", "Types", "Users", "Where", "selection_of"]

ScanIds = Annotated[
    list[str] | None, typer.Option("--scan-id", metavar="SCAN_ID", help="Only records of this scan; repeatable.")
]
Users = Annotated[
    list[str] | None,
    typer.Option(
        "--user", metavar="USER_ID", help="Only records of this user; the gateway looks up their subject (ops scope)."
    ),
]
Subjects = Annotated[
    list[str] | None,
    typer.Option(
        "--subject", metavar="SUBJECT", help="Only records of this subject, the pseudonym of a user in events."
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", metavar="TYPE", help="Only events of this type: ScanFailed, savo.scan.failed.v1 or savo.scan.*."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only events with this field; operators: =, !=, ~ (contains), >, <, >=, <=.",
    ),
]


def selection_of(
    scan_ids: list[str] | None,
    users: list[str] | None,
    subjects: list[str] | None,
    types: list[str] | None,
    where: list[str] | None,
    *,
    topics: Iterable[Topic[Any]] | None = None,
    url: str | None,
    key: str | None,
) -> Selection:
    """The selection of these options. `topics` are those to read, None for all.

    Raises `CommandError` for an invalid condition or an unknown user or type.
    """
    try:
        conditions = tuple(parse_condition(text) for text in where or ())
        for condition in conditions:
            check_condition(condition, [topic.event for topic in (TOPICS if topics is None else topics)])
    except ConditionError as error:
        raise WrongUseError(str(error)) from error
    names = frozenset(_type(name) for name in types or ())
    known = [_subject_of(user, url, key) for user in users or ()]
    return Selection(frozenset(scan_ids or ()), frozenset([*(subjects or ()), *known]), names, conditions)


def _subject_of(user: str, url: str | None, key: str | None) -> str:
    with Gateway(url, key) as gateway:
        found = gateway.get("/admin/subject", user_id=user)["subject"]
    if not found:
        raise CommandError(
            f"the gateway knows no user {user!r}: check the id; a user without photos, or an erased one, is unknown"
        )
    return str(found)


def _type(name: str) -> str:
    """The type on the wire, from itself or from the class name of the event."""
    by_class: dict[str, str] = {topic.event.__name__: topic.event.type for topic in TOPICS}
    if name in by_class or "." in name:
        return by_class.get(name, name)
    raise WrongUseError(f"no event {name!r}; there are {', '.join(sorted(by_class))}, or a type such as savo.scan.*")
