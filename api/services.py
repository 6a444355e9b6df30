"""The services that the routes use, built by `app` and kept on the application's state.

They are protocols, so that each part can be built and tested separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict, Unpack

import msgspec

from control.current import Stopped as Stopped
from control.fold import Control
from core.dispositions import Disposition
from core.header import InputHeader, OperatorHeader
from core.monitoring import ProofState
from core.payment.commands import CreatePayment, OperatorCommand
from core.records import Outcome
from engine.clock import Clock
from evidence.keys import ListedKey, SchemaStatement
from readmodel.ports import Reader
from schemas.codec import Codec


class Principal(msgspec.Struct, frozen=True):
    """Who calls, as the token says. `client_id` is set for machines; `expires_at` in epoch ms."""

    id: str
    roles: frozenset[str]
    token_id: str
    expires_at: int
    client_id: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What happened to a command: its outcome, or the reason why it is in quarantine. With neither
    it was not known in time: the command can still be decided until `not_after` (epoch ms; 0 for a
    creation, which has no such time).

    `projected` says whether the read model has reached the outcome's last event.
    """

    command_id: str
    not_after: int
    outcome: Outcome | None = None
    quarantined: str | None = None
    projected: bool = False


class PublishUnconfirmed(Exception):
    """Kafka did not confirm the command: it may be on the log or not. Repeating it is safe."""


class Commands(Protocol):
    """Publishes commands and control records. `operate` and `submit` block: call them from a worker
    thread.
    """

    def header(self, payment_intent_id: str, traceparent: str | None) -> InputHeader:
        """The header of a new command, with a new command id and the time."""

    def operator(self, principal: Principal, approval_id: str | None) -> OperatorHeader:
        """Who acts, from the token, and until when the command may be decided."""

    def operate(self, command: OperatorCommand) -> Answer:
        """Publish an operator command and wait for its outcome.

        Raises Stopped, PublishUnconfirmed, Unencodable for what no record can hold.
        """

    def submit(self, command: CreatePayment) -> Answer:
        """Publish a creation on the API's command topic and wait for its outcome.

        Raises Stopped, PublishUnconfirmed, Unencodable.
        """

    def pending(self, command_id: str) -> int | None:
        """`not_after` of a command of this process that has no outcome yet; 0: it has none (a
        creation).
        """

    def control(self) -> Control:
        """The state of the control topic, usually at most a second old. Raises Stopped when it
        could not be read for 5 s.
        """

    def write_control(self, record: msgspec.Struct) -> int:
        """Append a control record. Returns its offset. Raises PublishUnconfirmed."""


class AuditDetails(TypedDict, total=False):
    """Further details of a request, with OperatorAudit's fields."""

    payment_intent_id: str | None
    reason: str | None
    code: str | None
    rule: str | None
    sentence: str | None
    detail: str | None


class Audit(Protocol):
    """Writes requests that did not become a command to the audit log, before they are answered."""

    def note(
        self,
        principal: Principal | None,
        action: str,
        *,
        method: str,
        path: str,
        status: int,
        **details: Unpack[AuditDetails],
    ) -> None:
        """`detail` is JSON. Raises PublishUnconfirmed: then the request must not be carried out."""


class Evidence(Protocol):
    """Packs from raw bytes. `as_of` is `<sequence>.<outcomes offset>.<checkpoint number>`, and
    `.<rulings>` where two people ruled on its records.
    """

    def build(self, payment_intent_id: str, as_of: str | None, *, proof: bool) -> tuple[str, bytes]:
        """(asOf, the pack's JSON bytes). Raises KeyError for an unknown payment, ValueError for an
        asOf that cannot be met.
        """

    def pdf(self, pack: bytes) -> bytes:
        """The pack as a PDF for reading, which prints the SHA-256 of the JSON."""

    def view(self, payment_intent_id: str) -> bytes:
        """The JSON of the current pack, masked and marked "not a proof". Raises KeyError."""

    def verified_through(self, payment_intent_id: str, partition: int) -> int:
        """The last sequence of the payment that a checkpoint covers; 0 for none."""

    def rulings(self, payment_intent_id: str) -> Sequence[Disposition]:
        """What two people ruled on journal records that name the payment, in journal order."""

    def verify(self, payment_intent_id: str, pack: bytes | None) -> dict[str, Any]:
        """`{verdict, verified, hash, …}` of the given pack, else of the current one, compared with
        the log; `problem` is the first broken place.
        """

    def prove(self, payment_intent_id: str, pack: bytes) -> dict[str, Any]:
        """As `verify`: offline where a checkpoint covers all of it, else against the log."""


class Journal(Protocol):
    """Reads the journal from Kafka itself, for what the read model does not show yet."""

    def ends(self) -> Mapping[int, int]:
        """The end of each partition. Raises EngineError when Kafka does not answer."""

    def created(self, payment_intent_id: str) -> tuple[int, int] | None:
        """Partition and offset of the payment's creation, or None. Raises EngineError and
        TimeoutError.
        """


class PublicKeys(Protocol):
    """The verifier's public keys, from the current keyring file. Raises KeyFileError."""

    def listed(self) -> tuple[ListedKey, ...]:
        """All of them, the oldest first."""

    def schemas(self) -> tuple[SchemaStatement, ...]:
        """The keys' signed statements of what schema ids mean."""


class Proofs(Protocol):
    """The replay's published proof state."""

    def now(self) -> ProofState | None:
        """The last published state; None if there is none."""


class NoProofs:
    """No proofs are published."""

    def now(self) -> ProofState | None:
        return None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may use."""

    reader: Reader
    commands: Commands
    audit: Audit
    evidence: Evidence
    clock: Clock
    codec: Codec
    journal: Journal
    sources: dict[str, str]  # client id -> source, of submitters
    keyring: PublicKeys
    partitions: int
    proofs: Proofs = field(default_factory=NoProofs)
    reads_on_loop: bool = False  # point reads are as fast as a switch of threads (SQLite)
