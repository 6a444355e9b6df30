"""Decides a recorded input again, for the verifier and for replay (domain §10).

The events that it gives, encoded with the recorded schema, must be the recorded bytes. The recorded
decidedAt replaces the clock. Events do not name their source map: all that were in force within a
minute of decidedAt are tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from control.named import SourceMap, in_force
from core.decider import Context, Decision
from core.declared import replaced
from core.header import Cause
from core.payment.decide import decide
from core.payment.events import Event
from core.payment.limits import command_id_of
from core.payment.state import Payment
from core.rules import Rules
from core.values import Parties, Sealed
from engine import tracing
from engine.ports import Headers
from evidence.differences import first_difference
from schemas import topology
from schemas.codec import Codec
from schemas.codec.wire import schema_id
from schemas.errors import Undecodable, Unencodable
from schemas.topology import EVENTS

RulesOf = Callable[[int], Rules]  # raises KeyError for a rule set this release does not carry


class NotCarried(Exception):
    """The input needs a rule set that this release does not carry."""


class Input(msgspec.Struct, frozen=True):
    """An input as it is on its topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: Headers | None


class Environment(msgspec.Struct, frozen=True):
    """What decisions read besides inputs and states. `topics` are the input topics in the order in
    which a batch is decided.
    """

    codec: Codec
    rules_of: RulesOf
    cluster_id: str
    topics: tuple[str, ...]
    source_maps: tuple[SourceMap, ...]  # in the order of the control topic
    open_parties: Callable[[Sealed], Parties]
    found: frozenset[str] = (
        frozenset()
    )  # by recoveries: see core.payment.inputs.recovered_submissions

    def rules(self, number: int) -> Rules:
        """The rule set of this number. Raises NotCarried."""
        try:
            return self.rules_of(number)
        except KeyError:
            raise NotCarried(f"rule set {number} is not carried by this release") from None

    def context(
        self, cause: Cause, decided_at: int, rule_set: int, sources: frozenset[str]
    ) -> Context:
        """The context of a decision at `decided_at` (epoch ms). Raises NotCarried."""
        return Context(
            now_ms=decided_at,
            cause=cause,
            rules=self.rules(rule_set),
            origin=topology.ORIGINS.get(cause.topic, "upstream"),
            sources=sources,
            open_parties=self.open_parties,
            recovered_submissions=self.found,
        )


def with_trace(command: Any, headers: Headers | None) -> Any:
    """The input with the traceparent in its record's headers, if its body has none (domain §10).
    The processor and the verifier both decide it in this form.
    """
    if not headers or command.header.traceparent is not None:
        return command
    found = tracing.carried_by(headers)
    if found is None:
        return command
    return replaced(command, header=replaced(command.header, traceparent=found))


def difference_of_input(given: Input, cause: Cause) -> str | None:
    """How the input on the log differs from the one that the cause names, or None."""
    if given.value is None:
        return "its input has no value"
    if hashlib.sha256(given.value).digest() != cause.input_hash:
        place = f"{cause.topic} partition {cause.partition} offset {cause.offset}"
        return f"its input at {place} has other bytes than when it was decided"
    return None


def decisions(
    environment: Environment,
    given: Input,
    cause: Cause,
    state: Payment | None,
    decided_at: int,
    rule_set: int,
) -> Iterator[Decision | str]:
    """Decide an input again, once for each source map that may have been in force; a sentence where
    that fails. `state` must have its deadline (`with_deadline`). Raises NotCarried.
    """
    try:
        command = environment.codec.decode(given.topic, given.value, given.headers)
    except Undecodable as error:
        yield f"its input cannot be read: {error.reason}"
        return
    named = Cause(
        cluster_id=environment.cluster_id,
        topic=given.topic,
        partition=cause.partition,
        offset=given.offset,
        input_hash=cause.input_hash,
        command_id=command_id_of(command.header),
    )
    command = with_trace(command, given.headers)
    for sources in in_force(environment.source_maps, given.topic, decided_at):
        context = environment.context(named, decided_at, rule_set, sources)
        try:
            yield decide(state, command, context)
        except Exception as error:  # noqa: BLE001 a defect of decide is a finding about this payment
            yield f"decide raised {type(error).__name__}"


def encoded_as(codec: Codec, event: Event, previous_hash: bytes, recorded: bytes) -> bytes | None:
    """The event in the schema of the recorded bytes; None when that schema cannot hold it."""
    event.header.previous_hash = previous_hash
    number = schema_id(recorded)
    try:
        return codec.encode_as(EVENTS, event, number)
    except KeyError:
        if codec.schema_id(EVENTS, type(event).__name__) == number:
            raise
        return None  # written by the schema of another record type
    except Unencodable:
        return None


def event_difference(again: Any, recorded: Any) -> str:
    """How a recorded event differs from the one decided again."""
    if type(again) is not type(recorded):
        return f"decided again it gives {type(again).__name__}, recorded {type(recorded).__name__}"
    difference = first_difference(again, recorded, type(again).__name__)
    return difference or "the same values in other bytes"


def decision_name(decision: Decision) -> str:
    """The kind of decision, and the rule of a refusal, for messages."""
    rule = getattr(decision, "rule", None)
    return type(decision).__name__ if rule is None else f"{type(decision).__name__} {rule}"
