"""The control topic in memory, folded as every process folds it: bytes in, refused rules out."""

from __future__ import annotations

from typing import Any

from control.acts.operators_file import parse
from control.fold import Control
from control.in_force import Deployed
from core import control_records as records
from schemas.registry.setup import static_codec
from schemas.topology import CONTROL
from tests.control.people import CLUSTER, Hands, activated, file_text

CODEC = static_codec()
HOUR_MS = 3_600_000
START_MS = 1_800_000_000_000
PARTITIONS = 2
SOURCES = {"npp.payment.commands.v1": ("mobile-app",)}


class ControlLog:
    """`put` writes what anyone with write access can write; `act` writes a correctly signed act."""

    def __init__(
        self, *persons: str, content: bytes | None = None, deployed: Deployed | None = None
    ) -> None:
        self.content = content or file_text(*persons)
        self.written: list[tuple[bytes, int]] = []
        self.hands = Hands()
        self.now_ms = START_MS
        self.deployed = deployed or Deployed(parse(self.content), frozenset(), 1, SOURCES)
        self._folds = [self.obeyer()]
        self.put(
            records.ClusterRecorded(
                cluster_id=CLUSTER, partitions=PARTITIONS, recorded_at=0, actor="test"
            )
        )
        self.put(rules(1))
        self.put(activated(self.content))
        self.put(sources(1))

    def obeyer(self, deployed: Deployed | None = None) -> Control:
        """One more process, which reads the topic from its start; `rules_broken` are its own."""
        found: list[str] = []
        control = Control(
            CODEC.decode,
            cluster_id=CLUSTER,
            partitions=PARTITIONS,
            deployed=deployed or self.deployed,
            refused=found.append,
        )
        control.__dict__["rules_broken"] = found
        for offset, (value, at) in enumerate(self.written):
            control.apply(offset, value, at)
        return control

    @property
    def control(self) -> Control:
        return self._folds[0]

    @property
    def broken(self) -> list[str]:
        """The rules by which records were refused, in order."""
        return list(self.control.__dict__["rules_broken"])

    def put(self, record: Any) -> int:
        """Write the record unchanged; return its offset."""
        return self.put_bytes(CODEC.encode(CONTROL, record))

    def put_bytes(self, value: bytes) -> int:
        self.now_ms += 1_000
        offset = len(self.written)
        self.written.append((value, self.now_ms))
        for each in self._folds:
            each.apply(offset, value, self.now_ms)
        return offset

    def act(self, record: Any, request: Any | None = None, **how: Any) -> int:
        """Write the record signed by its actor, now."""
        return self.put(self.sign(record, request, **how))

    def sign(self, record: Any, request: Any | None = None, **how: Any) -> Any:
        found = request or self.control._request_of(record)
        return self.hands.sign(record, found, **{"at": self.now_ms, **how})

    # -- operators' actions ------------------------------------------------------------------------

    def stop(self, who: str = "ann") -> str:
        name = f"stp_{len(self.written)}"
        self.put(
            records.ProcessingStopped(
                stop_id=name, reason="drill", automatic=False, stopped_at=self.now_ms, actor=who
            )
        )
        return name

    def prove(self) -> int:
        return self.act(
            records.ProofPassed(
                scope="all", fold=True, chain=True, redecide=True, offsets=(9,) * PARTITIONS,
                passed_at=self.now_ms, actor="replay",
            )
        )  # fmt: skip

    def resume_request(self, stop_id: str, proof: int, who: str = "ann") -> Any:
        return records.ResumeRequested(
            stop_id=stop_id, proof_offset=proof, reason="ok", requested_at=self.now_ms, actor=who
        )

    def resume_confirmation(self, stop_id: str, offset: int, who: str = "bob") -> Any:
        return records.ResumeConfirmed(
            stop_id=stop_id, request_offset=offset, confirmed_at=self.now_ms, actor=who
        )


def rules(number: int) -> records.RuleSetActivated:
    return records.RuleSetActivated(
        number=number, sha256=bytes(32), state_version=1, event_schema_version=1, activated_at=0,
        actor="test",
    )  # fmt: skip


def sources(number: int, listed: str = "mobile-app") -> records.SourceMapActivated:
    return records.SourceMapActivated(
        number=number, topics=tuple(SOURCES), sources=(listed,), activated_at=0, actor="test"
    )
