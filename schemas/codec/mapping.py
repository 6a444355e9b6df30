"""Struct ↔ Avro datum (dicts, as fastavro has them), by functions made once for each shape.

Also the upcasters, which change a datum of an earlier schema before it becomes a struct.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.codec.shape import Field, Shape

Datum = dict[str, Any]
Upcaster = Callable[[Datum], Datum]

# Record name → what to do to a datum that another than the current schema wrote, after its fields
# were resolved to the current ones. Only for changes of meaning that no default can express.
UPCASTERS: Final[Mapping[str, Upcaster]] = {}


def datum_writer(shape: Shape) -> Callable[[Any], Datum]:
    """A function struct → datum of `shape`."""
    fields = [
        (field.name, field.attribute, None if field.record is None else datum_writer(field.record))
        for field in shape.fields
    ]

    def write(struct: Any) -> Datum:
        datum: Datum = {}
        for name, attribute, inner in fields:
            value = getattr(struct, attribute)
            datum[name] = value if inner is None or value is None else inner(value)
        return datum

    return write


def struct_reader(shape: Shape) -> Callable[[Datum], Any]:
    """A function datum of `shape` → struct."""
    fields = [(field.name, field.attribute, _reader_of(field)) for field in shape.fields]

    def read(datum: Datum) -> Any:
        values = dict(shape.unwritten)
        for name, attribute, inner in fields:
            value = datum[name]
            values[attribute] = value if inner is None or value is None else inner(value)
        return shape.struct(**values)

    return read


def _reader_of(field: Field) -> Callable[[Any], Any] | None:
    if field.record is not None:
        return struct_reader(field.record)
    return tuple if field.kind == "array" else None
