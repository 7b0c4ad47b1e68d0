"""Sets of values that grow: readers accept any well-formed value, writers keep to the list of their own release.

A field of type `OpenValue` names beside it, as a `StrEnum`, the values that this release writes. A reader compares with
`==`, passes on a value that it does not know, and treats it in the general way: it is neither an error nor lost.
A writer takes the `StrEnum` as the type of what it writes, or converts by it (`ServedBy(name)`), which raises `ValueError`.

A reader of a set that was closed before (`enum` in its JSON Schema) must be deployed one release before the first new
value is written: docs/decisions/0018-open-value-sets.md says which sets are open, and which stay closed.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

__all__ = ["OPEN_VALUE", "OpenValue", "is_open_value"]

OPEN_VALUE = r"^[a-z][a-z0-9_-]{1,31}$"
"""At most 32 characters: every column that holds such a value has room for as many."""

OpenValue = Annotated[str, Field(pattern=OPEN_VALUE)]


def is_open_value(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(OPEN_VALUE, value) is not None
