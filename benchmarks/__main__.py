"""The command: `python -m benchmarks one_call fan_out facade --rounds 7`."""

from __future__ import annotations

import sys

from .harness import main

if __name__ == "__main__":
    sys.exit(main())
