"""The compiled classes of a packed state beside msgspec, in a separate process: they write the same
bytes, and what they read, msgspec reads as the same value.

Run with a built tree first on PYTHONPATH: `python -m tests.native.packed SEED COUNT`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec

from core.declared import declared
from core.payment.state import Payment, pack, unpack
from tests.native.fuzz import damaged

ENCODE: Final = msgspec.msgpack.Encoder().encode
DECODE: Final = msgspec.msgpack.Decoder(declared(Payment)).decode
# Where the form of a number or of a length changes.
NUMBERS: Final = tuple(
    sign * (1 << bits) + step
    for bits in (0, 5, 7, 8, 15, 16, 31, 32, 62, 63)
    for sign in (1, -1)
    for step in (-1, 0, 1)
    if -(1 << 63) <= sign * (1 << bits) + step < 1 << 63
)
LARGE: Final = (1 << 63, (1 << 64) - 1)  # no rule allows them: msgspec reads the whole state
LENGTHS: Final = (0, 1, 31, 32, 255, 256)
OFFSETS_MAX: Final = 200
LONG: Final = (65_535, 65_536)
SIZES: Final = (0, 0, 1, 2, 15, 16, 17)
LETTERS: Final = ("a", "aZ0é€𝄞")
# The first bytes of every kind of value.
KINDS: Final = (0x00, 0x7F, 0x80, 0x81, 0x90, 0x91, 0xA0, 0xA1, *range(0xC0, 0xE1), 0xFF)


def drawn(hint: Any, draw: random.Random, numbers: tuple[int, ...]) -> Any:
    """A value of that type, most of the time an unusual one."""
    length = draw.choice(LENGTHS) if draw.random() < 0.99 else draw.choice(LONG)
    hint = getattr(hint, "__supertype__", hint)
    if hint is bool:
        return draw.random() < 0.5
    if hint is int:
        return draw.choice(numbers)
    if hint is str:
        return "".join(draw.choices(draw.choice(LETTERS), k=length))
    if hint is bytes:
        return draw.randbytes(length)
    arguments = get_args(hint)
    if NoneType in arguments:
        return None if draw.random() < 0.3 else drawn(arguments[0], draw, numbers)
    if get_origin(hint) is list:
        return [drawn(arguments[0], draw, numbers) for _ in range(draw.choice(SIZES))]
    if get_origin(hint) is dict:
        pairs = range(draw.choice(SIZES))
        key, value = arguments
        return {drawn(key, draw, numbers): drawn(value, draw, numbers) for _ in pairs}
    fields = get_type_hints(declared(hint))
    return declared(hint)(**{name: drawn(each, draw, numbers) for name, each in fields.items()})


def shortened(struct: Any, most: int) -> Any:
    """The same with at most so many characters, bytes or items in each field, so that damages hit
    more than the end of it.
    """
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if isinstance(value, str | bytes):
            setattr(struct, field, value[:most])
        elif isinstance(value, list):
            setattr(struct, field, [shortened(each, most) for each in value[:most]])
        elif isinstance(value, dict):
            setattr(struct, field, dict(list(value.items())[:most]))
    return struct


def answer(content: bytes, *, compiled: bool) -> str:
    """The state in these bytes, or why they are none."""
    try:
        state: Any = unpack(content) if compiled else read(DECODE(content))
    except ValueError as error:
        return str(error).removeprefix("the packed state cannot be read: ")
    return repr(state)


def read(struct: Any) -> Any:
    """The compiled form of what msgspec read."""
    return Payment.read(struct)  # type: ignore[attr-defined]  # of the compiled class


def differences(seed: int, count: int) -> Iterator[str]:
    """Every state on which the two differ, whole and damaged."""
    draw = random.Random(seed)
    for number in range(count):
        numbers = NUMBERS if number % 5 else (*NUMBERS, *LARGE)
        struct = drawn(Payment, draw, numbers)
        content = ENCODE(struct)
        if pack(read(struct)) != content:
            yield f"{struct!r} is written differently"
        quick = Payment.unpacked(content)  # type: ignore[attr-defined]  # as above
        if quick is None and numbers is NUMBERS:
            yield f"{content.hex()} is not read without msgspec"
        content = damaged(ENCODE(shortened(struct, 40)), draw)
        for each in (ENCODE(struct), content):
            ours, theirs = answer(each, compiled=True), answer(each, compiled=False)
            if ours != theirs:
                yield f"{each.hex()}: {ours}, and msgspec: {theirs}"


def differences_of_kind(seed: int) -> Iterator[str]:
    """Every byte of a small state in place of which another kind of value is read differently."""
    whole = ENCODE(shortened(drawn(Payment, random.Random(seed), (1,)), 1))
    for at in range(min(len(whole), OFFSETS_MAX)):
        for kind in KINDS:
            content = bytes((*whole[:at], kind, *whole[at + 1 :]))
            ours, theirs = answer(content, compiled=True), answer(content, compiled=False)
            if ours != theirs:
                yield f"{content.hex()}: {ours}, and msgspec: {theirs}"


def main() -> int:
    seed, count = map(int, sys.argv[1:])
    found = [each[:2_000] for each in (*differences(seed, count), *differences_of_kind(seed))]
    print("\n".join(found[:10]) or "no difference")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
