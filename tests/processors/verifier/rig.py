"""A verifier over an in-memory journal, stepped by hand."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from control.acts.key_file import SigningKey
from core.control_records import ProcessingStopped
from core.records import Checkpoint
from engine.partitioner import partition_of
from evidence.keys import Keyring
from processors.verifier.context import Inputs, KnownContext
from processors.verifier.metrics import VerifierMetrics
from processors.verifier.process import Verifier
from processors.verifier.store import VerifierStore
from schemas.codec import Codec
from schemas.codec.parties import open_parties
from schemas.topology import CHECKPOINTS, INPUTS
from tests.clock import HeldClock
from tests.keys import key_from_seed
from tests.processors.replay.world import rules_of
from tests.processors.verifier.journal import Journal, MemoryVerifierLog, Unjudged
from tests.processors.verifier.memory_store import MemoryStore

KEY = key_from_seed(b"k" * 32)
OTHER_KEY = key_from_seed(b"o" * 32)


def context_of(codec: Codec, log: Inputs, store: VerifierStore) -> KnownContext:
    """The context of a verifier that reads every input topic."""
    return KnownContext(
        codec=codec, rules_of=rules_of, topics=INPUTS, open_parties=open_parties, log=log,
        store=store,
    )  # fmt: skip


class Rig:
    """A journal, the verifier over it, and what a restart needs."""

    def __init__(self, codec: Codec, store: VerifierStore | None = None) -> None:
        self.codec = codec
        self.journal = Journal(codec)
        self.log = MemoryVerifierLog(self.journal)
        self.store = store or MemoryStore()
        self.keyring = Keyring()
        self.keyring.add(KEY.public, 0)
        self.clock = HeldClock(1_000_000)
        self.a, self.b, self.c = self.journal.payments(0, 3)
        self.registry = CollectorRegistry()
        self.verifier = self.start()

    def start(self, *, key: SigningKey = KEY) -> Verifier:
        self.registry = CollectorRegistry()
        self.verifier = Verifier(
            journal=self.log, codec=self.codec, store=self.store, key=key, keyring=self.keyring,
            clock=self.clock, metrics=VerifierMetrics(self.registry), partition_of=partition_of,
            context=context_of(self.codec, self.log, self.store), judge=Unjudged,
        )  # fmt: skip
        return self.verifier

    def work(self) -> None:
        """Open, read everything, and sign."""
        self.verifier.open()
        self.tick()

    def tick(self) -> None:
        self.verifier.step(0)
        self.verifier.sign_round()

    def checkpoints(self, partition: int = 0) -> list[Checkpoint]:
        log = self.journal.logs[CHECKPOINTS, partition]
        return [self.codec.decode(CHECKPOINTS, record.value) for record in log]

    def stopped_by(self) -> list[str]:
        stops = self.log.stops()
        assert all(stop.automatic for stop in stops if isinstance(stop, ProcessingStopped))
        return [stop.reason.split(":")[0] for stop in stops if isinstance(stop, ProcessingStopped)]

    def history(self) -> None:
        """Two checkpoints over three payments of partition 0."""
        self.journal.append(self.a, 3)
        self.journal.append(self.b, 2)
        self.work()
        self.journal.append(self.a, 2)
        self.journal.append(self.c, 1)
        self.tick()
