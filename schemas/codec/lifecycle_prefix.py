"""Reads only the first two fields of a lifecycle record, for a restore, which reads every record
once.
"""

from __future__ import annotations

from typing import Final

PREFIX_LENGTH: Final = 5  # magic byte and schema id
VARINT_BYTES_MAX: Final = 10  # 64 bits in groups of seven


def lifecycle_hints(value: bytes) -> tuple[bool, int | None]:
    """(at_rest, deadline in epoch ms or None) of a PaymentLifecycle in wire format.

    Raises ValueError when the bytes are too short to hold them.
    """
    try:
        at_rest = value[PREFIX_LENGTH] != 0
        if value[PREFIX_LENGTH + 1] == 0:
            return at_rest, None
        result = 0
        for index in range(VARINT_BYTES_MAX):
            byte = value[PREFIX_LENGTH + 2 + index]
            result |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return at_rest, (result >> 1) ^ -(result & 1)
    except IndexError:
        raise ValueError("a lifecycle record that ends within its first fields") from None
    raise ValueError("a lifecycle record whose deadline is not a 64-bit number")
