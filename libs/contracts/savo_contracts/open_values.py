"""Open value sets: enumerations that later releases can extend without breaking readers.

A reader accepts any well-formed value. A writer only writes the values of its own release, which a `StrEnum` beside
the field lists. A reader compares with `==`, passes an unknown value on and applies the general case to it. A writer
uses the `StrEnum` as its type or converts with it (`ServedBy(name)`), which raises `ValueError`.

When a closed set (`enum` in its JSON Schema) is opened, readers are deployed one release before the first new value is
written. docs/decisions/0018-open-value-sets.md says which sets are open and which stay closed.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

__all__ = ["OPEN_VALUE", "OpenValue", "is_open_value"]

OPEN_VALUE = r"^[a-z][a-z0-9_-]{1,31}$"
"""Pattern of a value: at most 32 characters, the length of every column that stores one."""

OpenValue = Annotated[str, Field(pattern=OPEN_VALUE)]


def is_open_value(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(OPEN_VALUE, value) is not None
