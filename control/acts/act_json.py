"""A signed control act as JSON: how a client hands it to the API, and how the API shows it.

`{type, fields, signature}`; fields in camelCase as in the Avro schemas, bytes as base64.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control.acts.actors import PERSONS_ACTS
from core.control_records import Signature
from core.declared import camel_case
from schemas.strict_json import json_reader

BY_NAME: Final[dict[str, Any]] = {each.__name__: each for each in PERSONS_ACTS}

_READERS: Final[dict[type, Any]] = {each: json_reader(each) for each in PERSONS_ACTS}


class NotAnAct(ValueError):
    """The JSON is not a signed control act; the message says why."""


def to_json(record: Any) -> dict[str, Any]:
    """The act as values for JSON; `signature` is None for an unsigned act."""
    fields = {
        camel_case(name): msgspec.to_builtins(getattr(record, name))
        for name in record.__struct_fields__
        if name != "signature"
    }
    given: Signature | None = record.signature
    return {
        "type": type(record).__name__,
        "fields": fields,
        "signature": None if given is None else _camel(msgspec.to_builtins(given)),
    }


def from_json(given: Any) -> Any:
    """The control record of an act in JSON. Its signature is not checked here. Raises NotAnAct."""
    if not isinstance(given, dict) or not isinstance(given.get("fields"), dict):
        raise NotAnAct("a signed act is {type, fields, signature}")
    kind = BY_NAME.get(str(given.get("type")))
    if kind is None:
        raise NotAnAct("type names no control act")
    names = {camel_case(name): name for name in kind.__struct_fields__}
    unknown = set(given["fields"]) - set(names)
    if unknown or "signature" in given["fields"]:
        raise NotAnAct(f"{kind.__name__} has no field {min(unknown, default='signature')}")
    values = {names[name]: value for name, value in given["fields"].items()}
    signature = given.get("signature")
    if not isinstance(signature, dict):
        raise NotAnAct("the act is not signed")
    snake = {camel_case(name): name for name in Signature.__struct_fields__}
    values["signature"] = {snake.get(name, name): value for name, value in signature.items()}
    try:
        return _READERS[kind](msgspec.json.encode(values))
    except (ValueError, TypeError) as error:
        raise NotAnAct(f"{kind.__name__}: {error}") from error


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    return {camel_case(name): value for name, value in values.items()}
