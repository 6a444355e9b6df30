"""The model's sequences (tests/model), decided by the payments processor on the engine's driver:
real bytes on a log, many payments, timers by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from core.payment.commands import CreatePayment, TimerDue
from core.values import external_ref, payment_intent_id
from schemas.codec.parties import seal
from schemas.errors import Unencodable
from schemas.topology import ORIGINS
from tests.histories.file import TOPICS, Recording, Schema, recording
from tests.model import vocabulary as model
from tests.model.runner import one, seeds_of
from tests.processors.replay.world import VERIFIER_KEY, World

SEALED: Final = seal(model.PARTIES)
TOPIC_OF: Final = {origin: topic for topic, origin in reversed(ORIGINS.items())}
LAST_MS: Final = model.START + 2 * model.DAY  # an unanswered request is repeated without end
SETTLE_MS: Final = model.HOUR  # after the last input, for the remaining timers
SCHEMAS_MAX: Final = 1_000
KEY_DIGITS: Final = len(model.KEY) - len("model-")


class Input(NamedTuple):
    """One input of the sequence `number`, in order."""

    now_ms: int
    number: int
    command: Any
    origin: Any


def record(sequences: int, seed: int) -> Recording:
    """A log with `sequences` payments that follow the model's sequences of `seed`."""
    world = World()
    inputs = sorted(_inputs(sequences, seed), key=lambda each: (each.now_ms, each.number))
    for now_ms, together in groupby(inputs, key=lambda each: each.now_ms):
        world.driver.advance(max(0, now_ms - world.driver.clock.now_ms()))
        for turn in _turns(list(together)):
            for each in turn:
                _give(world, each)
            world.driver.run()
    world.driver.advance(SETTLE_MS)
    log = world.log()
    schemas = [
        Schema(number, schema)
        for number in range(1, SCHEMAS_MAX)
        if (schema := world.registry.by_id(number)) is not None
    ]
    return recording(
        "model",
        f"{sequences} sequences of tests.model, seed {seed}, through the engine's driver",
        log.records,
        schemas=schemas,
        counts=log.partitions(TOPICS),
        keys=[VERIFIER_KEY.public],
    )


def _inputs(sequences: int, seed: int) -> Iterator[Input]:
    """Due timers are left out, because the engine makes them itself; so are the model's repeated
    inputs.
    """
    for number, own_seed in enumerate(seeds_of(seed, 0, sequences), 1):
        play = one(own_seed)[0]
        before: Any = None
        for step in play.steps:
            again, before = step.command is before, step.command
            due = step.before is not None and getattr(step.before, "deadline", None)
            if again or (isinstance(step.command, TimerDue) and step.command.deadline == due):
                continue
            if step.context.now_ms > LAST_MS:
                break
            yield Input(step.context.now_ms, number, step.command, step.origin)


def _turns(together: list[Input]) -> Iterator[list[Input]]:
    """Inputs of one moment, one payment at a time, in the order of their sequence."""
    waiting: dict[int, list[Input]] = {}
    for each in together:
        waiting.setdefault(each.number, []).append(each)
    while waiting:
        yield [several.pop(0) for several in waiting.values()]
        waiting = {number: several for number, several in waiting.items() if several}


def _give(world: World, given: Input) -> None:
    """The command as bytes, for a separate payment."""
    topic, command = TOPIC_OF[given.origin], given.command
    if isinstance(command, CreatePayment) and command.parties == model.SEALED:
        command = msgspec.structs.replace(command, parties=SEALED)
    try:
        value = world.codec.encode(topic, command)
    except Unencodable:
        return  # values that no schema can carry never reach a topic
    key = _own(command.header.payment_intent_id.encode(), given.number)
    world.driver.pipe(topic, key, _own(value, given.number))


def _own(raw: bytes, number: int) -> bytes:
    """Every sequence of the model is about one payment; replace id, key and references by
    another's.

    They all have one length, so the other bytes stay unchanged.
    """
    key = f"model-{number:0{KEY_DIGITS}d}"
    payment = payment_intent_id(model.SOURCE, key)
    pairs = (
        (model.ID, payment),
        (external_ref(model.ID, 1)[:-3], external_ref(payment, 1)[:-3]),
        (model.KEY, key),
    )
    for old, new in pairs:
        raw = raw.replace(old.encode(), new.encode())
    return raw
