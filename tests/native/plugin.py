"""Lets tests use msgspec's struct functions on compiled values: copies with changes, fields, bytes.
A plugin of the runs over build/native; the product itself uses `core.declared`.
"""

from __future__ import annotations

import typing
from typing import Any, Final

import msgspec

from core.declared import compiled, declared, is_compiled, replaced

FIELDS: Final = msgspec.structs.fields
REPLACE: Final = msgspec.structs.replace
ASTUPLE: Final = msgspec.structs.astuple
ASDICT: Final = msgspec.structs.asdict
ENCODE: Final = msgspec.msgpack.encode
HINTS: Final = typing.get_type_hints


def _as_struct(value: Any) -> Any:
    fields = zip(value.__struct_fields__, value.values(), strict=True)
    return declared(type(value))(**dict(fields))


def _fields(kind: Any) -> Any:
    return FIELDS(declared(kind if isinstance(kind, type) else type(kind)))


def _replace(value: Any, /, **changes: Any) -> Any:
    return replaced(value, **changes) if is_compiled(type(value)) else REPLACE(value, **changes)


def _astuple(value: Any) -> Any:
    return value.values() if is_compiled(type(value)) else ASTUPLE(value)


def _asdict(value: Any) -> Any:
    return ASDICT(_as_struct(value)) if is_compiled(type(value)) else ASDICT(value)


def _encode(value: Any) -> bytes:
    return ENCODE(value, enc_hook=_as_struct)


def _hints(kind: Any, *more: Any, **options: Any) -> dict[str, Any]:
    if not isinstance(kind, type):
        return HINTS(kind, *more, **options)
    return {name: _own(hint) for name, hint in HINTS(declared(kind), *more, **options).items()}


def _own(hint: Any) -> Any:
    if typing.get_origin(hint) is None:
        return compiled(hint)
    if type(None) in typing.get_args(hint):
        return typing.Union[tuple(map(compiled, typing.get_args(hint)))]  # noqa: UP007 at run time
    return hint


setattr(msgspec.structs, "fields", _fields)  # noqa: B010 as below
msgspec.structs.replace = _replace
msgspec.structs.astuple = _astuple
msgspec.structs.asdict = _asdict
setattr(msgspec.msgpack, "encode", _encode)  # noqa: B010 the stub's signature has more
setattr(typing, "get_type_hints", _hints)  # noqa: B010
