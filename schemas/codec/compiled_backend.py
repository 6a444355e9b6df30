"""A backend of the codec: compiled functions for the record types that have them, generated Python
for the others and for schemas that are not the current ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from schemas import definitions
from schemas.codec import Decoder, Encoder
from schemas.codec.generated_backend import GeneratedBackend
from schemas.codec.shape import Shape

MODULE: Final = "schemas.codec.native_codec"  # made by `make native`


class CompiledBackend(GeneratedBackend):
    """As the generated backend, but with the compiled functions of some records, by their names."""

    name = "compiled"

    def __init__(
        self,
        encoders: Mapping[str, Callable[[bytes], Encoder]],
        decoders: Mapping[str, Decoder],
    ) -> None:
        super().__init__()
        self._encoders = dict(encoders)
        self._decoders = dict(decoders)

    def encoder(self, shape: Shape, prefix: bytes) -> Encoder:
        made = self._encoders.get(shape.struct.__name__)
        if made is None or not _is_current(shape):
            return super().encoder(shape, prefix)
        return made(prefix)

    def decoder(self, shape: Shape) -> Decoder:
        made = self._decoders.get(shape.struct.__name__)
        if made is None or not _is_current(shape):
            return super().decoder(shape)
        return made


def own_backend() -> GeneratedBackend:
    """The backend of this build."""
    if find_spec(MODULE) is None:
        return GeneratedBackend()
    made: Any = import_module(MODULE)
    return CompiledBackend(made.ENCODERS, made.DECODERS)


def _is_current(shape: Shape) -> bool:
    return bool(shape.schema == definitions.current(shape.struct.__name__))
