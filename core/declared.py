"""What a value's class was declared as: itself, or, in the compiled build, the struct that its
class was made from.
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
    """The class whose values the product makes, for one that a struct's type names."""
    if not isinstance(kind, type):
        return kind
    plain = sys.modules.get(kind.__module__.removesuffix("_structs"))
    return kind if plain is None else getattr(plain, kind.__name__, kind)


def is_compiled(kind: type) -> bool:
    """Whether this is the compiled form of its class."""
    return hasattr(kind, "DECLARED_IN")


def replaced(value: Any, **changes: Any) -> Any:
    """A copy with some fields changed."""
    kind = type(value)
    if not is_compiled(kind):
        return msgspec.structs.replace(value, **changes)
    fields = zip(kind.__struct_fields__, value.values(), strict=True)
    return kind(**{**dict(fields), **changes})


def shown(value: Any) -> str:
    """The value as its struct would show it."""
    fields = zip(value.__struct_fields__, value.values(), strict=True)
    return f"{type(value).__name__}({', '.join(f'{name}={each!r}' for name, each in fields)})"


def packer() -> Callable[[Any], bytes]:
    """A function value → MessagePack."""
    return msgspec.msgpack.Encoder(enc_hook=_values).encode


def unpacker(kind: type) -> Callable[[bytes], Any]:
    """A function MessagePack → value of `kind`. It raises ValueError."""
    decode = msgspec.msgpack.Decoder(declared(kind)).decode
    read: Callable[[Any], Any] | None = getattr(kind, "read", None)
    return decode if read is None else lambda packed: read(decode(packed))


def _values(value: Any) -> Any:
    return value.values()


def _in(module: str, kind: type) -> Any:
    return getattr(import_module(module), kind.__name__)
