"""Where two decoded values first differ, as text without personal data."""

from __future__ import annotations

from typing import Any, Final

from core.declared import is_record

# Values of these fields are personal or free text: a difference names the field alone.
UNNAMED_VALUES: Final = frozenset(
    {
        "parties_bytes", "customer_id", "idempotency_key", "end_to_end_id", "detail", "details",
        "text", "bytes", "snapshot", "content",
    }
)  # fmt: skip
VALUE_CHARACTERS_MAX: Final = 100
MISSING: Final = "(none)"


def first_difference(expected: Any, actual: Any, path: str) -> str | None:
    """Where two values first differ, as `path: expected …, found …`; None when they are equal."""
    if expected == actual and type(expected) is type(actual):
        return None
    if is_record(expected) and type(expected) is type(actual):
        for field in expected.__struct_fields__:
            inner = first_difference(
                getattr(expected, field), getattr(actual, field), f"{path}.{field}"
            )
            if inner is not None:
                return inner
        return None
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        for index in range(max(len(expected), len(actual))):
            inner = first_difference(
                expected[index] if index < len(expected) else MISSING,
                actual[index] if index < len(actual) else MISSING,
                f"{path}[{index}]",
            )
            if inner is not None:
                return inner
        return None
    if expected == actual:
        return None
    name = path.rpartition(".")[2]
    if name in UNNAMED_VALUES:
        return f"{path} differs"
    return f"{path}: expected {_shown(expected)}, found {_shown(actual)}"


def _shown(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text[:VALUE_CHARACTERS_MAX]
