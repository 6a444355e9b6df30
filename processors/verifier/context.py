"""The data of the verifier's judges: the control topic, inputs read ahead, and its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from control.fold import Control
from control.named import Named
from core.header import Cause
from core.rules import Rules
from core.values import Parties, Sealed
from engine.errors import Exit
from engine.ports import RecordPosition
from engine.records import LogRecord
from evidence.redecide import Environment, Input, RulesOf
from processors.verifier.store import VerifierStore
from schemas.codec import Codec

NOT_CARRIED = "RULE_SET_NOT_CARRIED"


class Inputs(Protocol):
    """The required part of the verifier's log."""

    def inputs(self, places: Iterable[RecordPosition]) -> Mapping[RecordPosition, LogRecord]:
        """The records at these positions; absent ones are missing from the result."""

    def parked(self, cause: Cause) -> bool:
        """Whether quarantine has this input as PARKED."""


class KnownContext:
    """See processors.verifier.judge.VerifierContext."""

    def __init__(
        self,
        *,
        codec: Codec,
        rules_of: RulesOf,
        topics: tuple[str, ...],
        open_parties: Callable[[Sealed], Parties],
        log: Inputs,
        store: VerifierStore,
    ) -> None:
        """`topics`: the inputs in decision order."""
        self._codec = codec
        self._rules_of = rules_of
        self._topics = topics
        self._open_parties = open_parties
        self._log = log
        self._store = store
        self._found: Mapping[RecordPosition, LogRecord] = {}
        self.named = Named()
        self.control: Control = Control(codec.decode)
        self.environment = self._environment()

    def follow(self, control: Control) -> None:
        """Use the current control topic. Raises Exit if this release lacks a rule set that it
        named.
        """
        self.control = control
        for number, sha256 in self.named.rule_sets.items():
            if self._rules(number, sha256) is None:
                raise Exit(
                    NOT_CARRIED,
                    f"control named rule set {number}, this release does not carry that file: "
                    "start the verifier of a release that does",
                )
        self.environment = self._environment()

    def _rules(self, number: int, sha256: bytes) -> Rules | None:
        try:
            rules = self._rules_of(number)
        except KeyError:
            return None
        return rules if rules.sha256 == sha256 else None

    def _environment(self) -> Environment:
        return Environment(
            codec=self._codec,
            rules_of=self._rules_of,
            cluster_id=self.named.cluster_id,
            topics=self._topics,
            source_maps=tuple(self.named.source_maps),
            open_parties=self._open_parties,
            found=self.control.found,
        )

    def read_ahead(self, places: Iterable[RecordPosition]) -> None:
        """Read the inputs that the next events name; other topics are ignored."""
        wanted = {place for place in places if place[0] in self._topics}
        self._found = self._log.inputs(wanted) if wanted else {}

    def input(self, place: RecordPosition) -> Input | None:
        record = self._found.get(place)
        if record is None:
            return None
        return Input(*place, record.value, record.headers or None)

    def parked(self, cause: Cause) -> bool:
        return self._log.parked(cause)

    def packed(self, partition: int, payment: str) -> bytes | None:
        return self._store.packed(partition, payment)
