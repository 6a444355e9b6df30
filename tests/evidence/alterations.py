"""A log with a payment of each kind, its signed packs, and ways to alter a pack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.payment import commands as c
from evidence import verify_evidence as v
from evidence.packs.pack import public_keys
from schemas import topology as t
from tests.evidence.harness import Harness, keyring
from tests.keys import key_from_seed

SEED = 20_261_122
FORGER = key_from_seed(b"f" * 32)
KEYS = public_keys(keyring())

Path_ = tuple[str | int, ...]


def signed_world(folder: Path) -> tuple[Harness, dict[str, str]]:
    """Payments by name; one has a refused action, one an event that is not signed yet."""
    made = Harness(folder)
    world = made.world
    names = world.mixed()
    command = c.CancelPayment(
        header=world.header(names["retried"]), operator=world.operator(), reason="too late"
    )
    world.give(t.OPERATOR_COMMANDS, command)  # refused: an action that was not executed
    for _ in range(2):  # so that the Merkle path has a step
        names["beside"] = world.settled(world.key_beside(names["retried"]))
    names["in flight"] = world.create("in flight")
    made.all()
    world.report(names["in flight"], "ACCEPTED", code="ACSP")
    made.project()
    return made, names


def refused(content: bytes, keys: Any = KEYS) -> tuple[str, str]:
    """Kind and location of what is wrong with it; it must not verify."""
    answer = v.verify(content, keys)
    assert not answer["verified"]
    assert answer["problem"]["sentence"]
    return answer["problem"]["kind"], answer["problem"]["place"]


def forged(inputs: v.Inputs, **changes: Any) -> bytes:
    """A pack made from other inputs by our own code: consistent in itself."""
    return v.canonical(v.assemble(replace(inputs, **changes), with_proof=True))


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        if isinstance(each, (dict, list)) and each:
            yield from leaves(each, (*path, key))
        else:
            yield (*path, key)


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return (value[:-1] + ("A" if value[-1] != "A" else "B")) if value else "x"
        case None:
            return "x"
        case _:
            return ["x"]


def upper(value: Any) -> dict[str, Any]:
    """The same hex digits in upper case."""
    given = isinstance(value, str) and value.upper() != value
    return {"upper": value.upper()} if given else {}
