"""JSON bytes from outside as a value, or one error: the only reader of JSON that others wrote.

Strict where the usual readers are lenient: UTF-8 throughout, no key given twice, no NaN, no half of
a surrogate pair, no nesting without bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

KEY_CHARACTERS_MAX: Final = 100  # of a key that a sentence names


class UnreadableJson(ValueError):
    """These bytes are not JSON, or not of the expected form. The sentence says why; it contains
    none of their values.
    """


def json_reader(kind: type[T]) -> Callable[[bytes], T]:
    """A reader of JSON of that form. Make it once, at import: msgspec builds a type's tables at
    their first use, and two threads that do so at once crash.
    """
    decode = msgspec.json.Decoder(kind).decode
    return lambda content: _read(content, decode)


def read_json(content: bytes) -> Any:
    """The value in `content`. Raises UnreadableJson, nothing else."""
    return _read(content, _decode_any)


_decode_any: Final = msgspec.json.Decoder(Any).decode


def _read(content: bytes, decode: Callable[[bytes], T]) -> T:
    """msgspec reads the value, the standard library checks the keys: of two equal keys msgspec
    alone keeps the last, and it raises two exceptions that are not its own.
    """
    try:
        json.loads(content.decode(), object_pairs_hook=_each_once)
        return decode(content)
    except UnreadableJson:
        raise
    except UnicodeDecodeError:
        raise UnreadableJson("it is not UTF-8") from None
    except RecursionError:
        raise UnreadableJson("it is nested too deep") from None
    except msgspec.ValidationError as error:
        raise UnreadableJson(f"it has another form than expected: {error}") from None
    except ValueError:
        raise UnreadableJson("it is not valid JSON") from None


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a key that is given twice. The value itself is not needed."""
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise UnreadableJson(f"the key {shown_key(name)} is given twice")
        seen.add(name)


def shown_key(name: str) -> str:
    """A key that fits into a sentence and a log: limited in length, and escaped unless ASCII."""
    return ascii(name[:KEY_CHARACTERS_MAX])
