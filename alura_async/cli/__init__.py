"""The `alura` command: its way in, which needs nothing but the standard library, and says what the rest needs."""

from __future__ import annotations

import sys
from importlib import import_module

_NEEDS = ("click", "rich")


def main() -> None:
    """Run the `alura` command with this process's arguments, and end the process."""
    try:
        for library in _NEEDS:
            import_module(library)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDS:
            raise
        sys.stderr.write(
            "the alura command needs the extra \"cli\": in a clone of the project, pip install '.[cli,sandbox]'\n"
        )
        sys.exit(2)
    from .entry import run

    sys.exit(run())
