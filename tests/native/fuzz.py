"""Damaged bytes through the compiled and the generated decoders, in a separate process: both give
the same record or the same error.

Run with a built tree first on PYTHONPATH. Memory is limited: a length that is trusted before it is
checked ends the process. `python -m tests.native.fuzz SEED COUNT`.
"""

from __future__ import annotations

import random
import resource
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from bench.rig.load import PARTIES, STAGES, payment_ids, stage
from core.values import Parties
from engine.loop.batch import BatchRun
from engine.ports import InputRecord
from engine.store.states import PartitionStates
from schemas import definitions
from schemas.catalogue import RECORD_BY_NAME
from schemas.codec.avro_binary import LONG_MAX, LONG_MIN, read_long, zigzag
from schemas.codec.generated_backend import GeneratedBackend
from schemas.codec.shape import shape_of
from schemas.codec.wire import ID_FORM_BYTES
from schemas.errors import Undecodable
from tests.engine.store.memory import MemoryPartitionStore
from tests.processors.payments.clean_history import PARTITIONS, Outside

STRUCTS: Final[dict[str, type]] = {**RECORD_BY_NAME, Parties.__name__: Parties}
MEMORY_BYTES_MAX: Final = 1_500_000_000
# Lengths and counts that a careless reader trusts: of 32 and 64 bits, negative, and one too long.
HOSTILE: Final = tuple(
    bytes.fromhex(each)
    for each in (
        "01", "7f", "ff01", "ffffffff0f", "feffffffff1f", "ffffffffffffffffff01",
        "feffffffffffffffff01", "ffffffffffffffffff02", "ffffffffffffffffffff01", "80" * 12,
    )
)  # fmt: skip


def samples() -> dict[str, list[bytes]]:
    """Each compiled record type's datums, from one payment's whole life."""
    outside = Outside()
    app, codec = outside.driver.app, outside.codec
    states = {n: PartitionStates(app, n, MemoryPartitionStore()) for n in range(PARTITIONS)}
    found: dict[str, list[bytes]] = {"Parties": [PARTIES.bytes]}
    for number, name in enumerate(STAGES):
        for topic, partition, key, value in stage(
            codec, name, "fuzz", payment_ids("fuzz", 1), PARTITIONS, number
        ):
            run = BatchRun(app, states)
            run.decide([InputRecord(topic, partition, number, 0, key, value, [], 1_000 + number)])
            run.applied({}, 0)
            for where, content in ((topic, value), *((o[0], o[1]) for o in run.overlay.outputs)):
                assert content is not None
                kind = type(codec.decode(where, content)).__name__
                found.setdefault(kind, []).append(content[ID_FORM_BYTES:])
    return found


def damaged(datum: bytes, draw: random.Random) -> bytes:
    """The datum truncated, with changed bytes, or with a hostile length inside."""
    content = bytearray(datum)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(5):
            case 0:
                del content[at:]
            case 1:
                content[at : at + 1] = bytes([draw.randrange(256)])
            case 2:
                content[at : at + draw.randint(0, 4)] = draw.choice(HOSTILE)
            case 3:
                content[at:at] = draw.randbytes(draw.randint(1, 8))
            case _:
                del content[at : at + draw.randint(1, 8)]
    return bytes(content)


def answer(decode: Callable[[bytes, int], Any], content: bytes) -> str:
    """The codec's result for these bytes: the record, or the error."""
    try:
        return repr(decode(content, 0))
    except IndexError:
        return "truncated"
    except UnicodeDecodeError:
        return "text that is not UTF-8"
    except Undecodable as error:
        return str(error)


def long_differences() -> Iterator[str]:
    """Numbers around every power of two, where the compiled writer and reader branch."""
    binary = import_module("schemas.codec.native_binary")
    writer = import_module("librt.strings").BytesWriter
    around = (
        sign * (1 << bits) + step for bits in range(63) for sign in (1, -1) for step in (-1, 0, 1)
    )
    for number in (*around, LONG_MIN, LONG_MIN + 1, LONG_MAX):
        out = writer()
        binary.write_long(out, number)
        if out.getvalue() != zigzag(number):
            yield f"{number} is written as {out.getvalue().hex()}"
        if binary.read_long(zigzag(number), 0) != read_long(zigzag(number), 0):
            yield f"{number} is not read back"


def differences(seed: int, count: int) -> Iterator[str]:
    """Every datum on which the two differ; undamaged datums are read first."""
    made = import_module("schemas.codec.native_codec")
    draw, known = random.Random(seed), samples()
    for name, compiled in sorted(made.DECODERS.items()):
        shape = shape_of(STRUCTS[name], definitions.current(name))
        generated = GeneratedBackend().decoder(shape)
        for number in range(count):
            datum = draw.choice(known[name])
            content = datum if number < len(known[name]) else damaged(datum, draw)
            ours, theirs = answer(compiled, content), answer(generated, content)
            if ours != theirs:
                yield f"{name} {content.hex()}: {ours}, and generated: {theirs}"


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    found = [*long_differences(), *differences(seed, count)]
    print("\n".join(found[:10]) or f"no difference in {count} of each type, seed {seed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
