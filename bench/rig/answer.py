"""How every bench takes its options and gives its figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any


def options_of(command: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m COMMAND`, with the option that every bench has."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    return parser


def give(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """One figure a line on stderr, for people; with `as_json` all of them in one line of stdout."""
    for name, value in figures.items():
        print(f"{name:28} {value}", file=sys.stderr)
    if as_json:
        print(json.dumps(figures))
