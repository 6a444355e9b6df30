"""The .avsc files that ship with the code: the current ones and those of every released version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from schemas.codec.shape import Json

ROOT: Final = Path(__file__).resolve().parent
CURRENT: Final = ROOT / "avro"
RELEASED: Final = ROOT / "released"


def canonical(schema: Json) -> str:
    """The schema as text, independent of a registry's white space and order of keys."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(schema: Json) -> str:
    """SHA-256 (hex) of the canonical text."""
    return hashlib.sha256(canonical(schema).encode()).hexdigest()


def current(name: str) -> Json:
    """The parsed schema of record type `name`. Raises FileNotFoundError."""
    return json.loads((CURRENT / f"{name}.avsc").read_text(encoding="utf-8"))


def releases() -> list[str]:
    """Released versions, oldest first."""
    versions = [each.name for each in RELEASED.iterdir() if each.is_dir()]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def released(name: str) -> list[Json]:
    """The different released schemas of record type `name`, oldest first."""
    found: list[Json] = []
    for version in releases():
        path = RELEASED / version / f"{name}.avsc"
        if path.exists():
            schema = json.loads(path.read_text(encoding="utf-8"))
            if schema not in found:
                found.append(schema)
    return found


def all_versions(name: str) -> list[Json]:
    """Every schema that may have written a record `name`, oldest first; the last is the current."""
    now = current(name)
    return [*(each for each in released(name) if each != now), now]
