"""Random records of any type, generated from the schema's shape, for the codec's tests."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from schemas import catalogue, definitions
from schemas.codec.shape import Field, Shape, shape_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "bytes": st.binary(max_size=40),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
}
TOPICS = catalogue.load()
TOPIC_OF = {name: each.name for each in reversed(TOPICS.topics) for name in each.record_names()}


def shape_by_name(name: str) -> Shape:
    """The shape of the current version of a record type."""
    return shape_of(catalogue.RECORD_BY_NAME[name], definitions.current(name))


def any_record(shape: Shape) -> st.SearchStrategy[msgspec.Struct]:
    """Records of this shape, including extremes, within the limits of inputs."""
    return st.builds(shape.struct, **{field.attribute: _any_value(field) for field in shape.fields})


def _any_value(field: Field) -> st.SearchStrategy[Any]:
    if field.record is not None:
        value: st.SearchStrategy[Any] = any_record(field.record)
    elif field.kind == "fixed":
        value = st.binary(min_size=field.size, max_size=field.size)
    elif field.kind == "array":
        value = st.lists(LEAVES[str(field.items)], max_size=4).map(tuple)
    else:
        value = LEAVES[field.kind]
    return st.none() | value if field.optional else value
