"""`python -m pairplay`: the command without its script, as one of our processes starts another."""

from __future__ import annotations

import sys

from pairplay.cli import main

if __name__ == "__main__":
    sys.exit(main())
