"""SHA-256 over every record of a log with the model's sequences, which covers what the bench's
happy path does not. `python -m tests.native.model_digest SEQUENCES SEED`.
"""

from __future__ import annotations

import sys

import tests.native.plugin  # noqa: F401 so that the model can copy compiled values
from tests.histories.model import record


def main() -> int:
    made = record(*map(int, sys.argv[1:]))
    print(made.digest.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main())
