"""The declared form of a value's class: itself, or, in the compiled build, the struct that its
class was generated from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import msgspec


def declared(kind: type) -> type[msgspec.Struct]:
    """The struct with the fields, defaults and types of `kind`."""
    module = getattr(kind, "DECLARED_IN", None)
    return cast(type[msgspec.Struct], kind if module is None else _in(module, kind))


def compiled(kind: Any) -> Any:
    """The class that the product instantiates for a class that a struct's type names."""
    if not isinstance(kind, type):
        return kind
    plain = sys.modules.get(kind.__module__.removesuffix("_structs"))
    return kind if plain is None else getattr(plain, kind.__name__, kind)


def is_compiled(kind: type) -> bool:
    """Whether this is the compiled form of its class."""
    return hasattr(kind, "DECLARED_IN")


def is_record(value: Any) -> bool:
    """Whether this has the fields of a struct, in its compiled form too."""
    return hasattr(value, "__struct_fields__")


def replaced(original_: Any, /, **changes: Any) -> Any:
    """A copy with some fields changed. No field may have the first parameter's name: a compiled
    function takes it for a keyword, too.
    """
    kind = type(original_)
    if not is_compiled(kind):
        return msgspec.structs.replace(original_, **changes)
    fields = zip(kind.__struct_fields__, original_.values(), strict=True)
    return kind(**{**dict(fields), **changes})


def shown(value: Any) -> str:
    """The repr that the value's struct would have."""
    fields = zip(value.__struct_fields__, value.values(), strict=True)
    return f"{type(value).__name__}({', '.join(f'{name}={each!r}' for name, each in fields)})"


def packer(kind: type) -> Callable[[Any], bytes]:
    """A function value of `kind` → MessagePack. A compiled class writes the same bytes itself."""
    packed: Callable[[Any], bytes] | None = getattr(kind, "packed", None)
    return msgspec.msgpack.Encoder().encode if packed is None else packed


def unpacker(kind: type) -> Callable[[bytes], Any]:
    """A function MessagePack → value of `kind`. It raises ValueError. A compiled class reads what
    this release writes; msgspec reads an earlier one's bytes, and says what is wrong with others.
    """
    decode = msgspec.msgpack.Decoder(declared(kind)).decode
    read: Callable[[Any], Any] | None = getattr(kind, "read", None)
    if read is None:
        return decode
    unpacked: Callable[[bytes], Any] = getattr(kind, "unpacked")  # noqa: B009 no struct has it
    slowly = read

    def either(packed: bytes) -> Any:
        value = unpacked(packed)
        return slowly(decode(packed)) if value is None else value

    return either


def camel_case(attribute: str) -> str:
    """The field's name in schemas and JSON: payment_intent_id → paymentIntentId."""
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _in(module: str, kind: type) -> Any:
    return getattr(import_module(module), kind.__name__)
