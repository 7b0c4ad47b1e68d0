"""`python -m savo_runtime.check [SERVICE …]`: check the settings in the environment without importing a service.

Exit code 0, or 2 with one line on stderr that names the variable, its value and what is allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from savo_runtime.settings import installed_settings, load_settings

__all__ = ["main"]


def main(services: Sequence[str]) -> None:
    for name, cls in installed_settings().items():
        if not services or name in services:
            load_settings(cls)


if __name__ == "__main__":
    main(sys.argv[1:])
