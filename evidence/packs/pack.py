"""Makes evidence packs from raw bytes, which are first checked against chain and checkpoint.

The content of a pack is computed in `verify_evidence` alone: both the builder and the verification
make it from the same inputs. Only the resulting state is also computed here, by core's own fold,
and must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.payment.evolve import evolve
from core.payment.state import CorruptHistory, Payment, money_outcome, open_conflicts
from core.values import external_ref
from evidence import verify_evidence as v
from evidence.keys import Keyring
from evidence.merkle import LeafData, inclusion, payment_leaf, sorted_leaves
from schemas import definitions
from schemas.codec.strict_validation import check_schema
from schemas.errors import Undecodable

EVENTS_COUNT_MAX: Final = 5_000  # about 8 MiB as JSON; a payment has some 20
OUTCOMES_COUNT_MAX: Final = 5_000
RULINGS_COUNT_MAX: Final = 1_000
LEAVES_COUNT_MAX: Final = 200_000  # of one checkpoint: one is signed every 10,000 events or so
NOT_A_PROOF: Final = (
    "This is a masked view for reading. It is not a proof: it cannot be verified. Ask somebody "
    "who may see personal data for the evidence pack."
)
MASKED: Final = "(masked)"
# With the hash of bytes that contain personal data, a guess of the data can be confirmed.
MASKED_FIELDS: Final = frozenset(
    {"parties", "customerId", "hash", "previousHash", "inputHash", "eventHash"}
)

SchemaOf = Callable[[int], Any]  # raises Undecodable


class Tampered(Exception):
    """The bytes contradict chain, checkpoint or fold: no pack is made of them."""

    def __init__(self, kind: str, place: str, sentence: str) -> None:
        super().__init__(f"{kind} at {place}: {sentence}")
        self.kind, self.place, self.sentence = kind, place, sentence


class TooLong(ValueError):
    """The history is too long for one pack; the message names the limit."""


class RuledRecord(msgspec.Struct, frozen=True):
    """As verify_evidence.Ruling, with the raw acts as they are on the control topic."""

    request_offset: int
    request: bytes
    confirm_offset: int
    confirmation: bytes
    cluster: str
    record: bytes | None
    counted_after: int | None


class Material(msgspec.Struct, frozen=True):
    """The raw inputs of a pack, as on the log. `commands` has the command of each operator outcome
    that appended no event.
    """

    payment: str
    partition: int
    events: Sequence[tuple[int, bytes]]  # offset, raw; by sequence
    outcomes: Sequence[tuple[int, int, bytes]]  # partition, offset, raw; in log order
    commands: Sequence[bytes]
    checkpoint: bytes | None
    rulings: Sequence[RuledRecord]
    leaves: Sequence[LeafData]  # of the checkpoint's range


class Packer:
    """Decodes and checks the inputs of packs. `schema_of` gives a schema by its id, `decode` core's
    event of a raw value; both raise Undecodable.
    """

    def __init__(
        self, schema_of: SchemaOf, keyring: Keyring, decode: Callable[[bytes], Any]
    ) -> None:
        self._schema_of = schema_of
        self._keyring = keyring
        self._keys = public_keys(keyring)
        self._decode = decode
        self._parsed: dict[int, Any] = {}

    def inputs(self, material: Material) -> v.Inputs:
        """The material decoded and checked. Raises Tampered, TooLong."""
        check_size(len(material.events), len(material.outcomes), len(material.leaves))
        place = "events"
        try:
            events = []
            for index, (offset, raw) in enumerate(material.events):
                place = f"sequence {index + 1}, offset {offset}"
                events.append(v.event_of(offset, raw, self.parsed(v.schema_id_of(raw))))
            outcomes = []
            for partition, offset, raw in material.outcomes:
                place = f"outcome at offset {offset}"
                outcomes.append((partition, offset, raw, self.record(raw)))
            commands = []
            for index, raw in enumerate(material.commands):
                place = f"command {index + 1} of those not executed"
                commands.append(self._act(raw))
            rulings = []
            for each in material.rulings:
                place = f"ruling at control offset {each.request_offset}"
                rulings.append(
                    v.Ruling(
                        request_offset=each.request_offset,
                        request=self._act(each.request),
                        confirm_offset=each.confirm_offset,
                        confirmation=self._act(each.confirmation),
                        cluster=each.cluster,
                        record=each.record,
                        counted_after=each.counted_after,
                    )
                )
            place = "checkpoint"
            proof = self._proof(material)
        except (ValueError, Undecodable) as error:
            raise Tampered("UNREADABLE", place, str(error)) from error
        used = [e.schema_id for e in events] + [v.schema_id_of(raw) for _, _, raw, _ in outcomes]
        used += [each.schema_id for each in commands]
        used += [act.schema_id for each in rulings for act in (each.request, each.confirmation)]
        key_id = None
        if proof is not None:
            used.append(proof.schema_id)
            key_id = str(proof.record["keyId"])
        inputs = v.Inputs(
            payment=material.payment,
            partition=material.partition,
            events=events,
            outcomes=outcomes,
            commands=commands,
            proof=proof,
            schemas={number: self._statement(number, key_id) for number in sorted(set(used))},
            rulings=rulings,
        )
        self._check(inputs)
        return inputs

    def _act(self, raw: bytes) -> v.Command:
        return v.command_of(raw, self.parsed(v.schema_id_of(raw)))

    def parsed(self, schema_id: int) -> Any:
        """The writer's schema of this id, parsed. Raises Undecodable."""
        if schema_id not in self._parsed:
            schema = self._schema_of(schema_id)
            check_schema(schema)
            self._parsed[schema_id] = v.parse_schema(schema)
        return self._parsed[schema_id]

    def record(self, raw: bytes) -> dict[str, Any]:
        """A raw value as a pack shows it. Raises ValueError, Undecodable."""
        return v.decode(raw, self.parsed(v.schema_id_of(raw)))

    def _proof(self, material: Material) -> v.Proof | None:
        if material.checkpoint is None:
            return None
        leaves = sorted_leaves(material.leaves)
        names = [leaf.payment_intent_id for leaf in leaves]
        if material.payment not in names:
            raise ValueError("the payment is not among the payments of its range")
        found = inclusion([payment_leaf(leaf) for leaf in leaves], names.index(material.payment))
        return v.Proof(
            raw=material.checkpoint,
            record=self.record(material.checkpoint),
            schema_id=v.schema_id_of(material.checkpoint),
            index=found.index,
            path=[each.hex() for each in found.path],
        )

    def _statement(self, number: int, key_id: str | None) -> dict[str, Any]:
        schema = self._schema_of(number)
        fingerprint = definitions.fingerprint(schema)
        stated = self._keyring.schema_statement(number, key_id)
        if stated is not None and stated.sha256 != fingerprint:
            raise Tampered("SCHEMA", f"schema {number}", "the key states it to be another schema")
        return {
            "schema": schema,
            "sha256": fingerprint,
            "keyId": None if stated is None else stated.key_id,
            "signature": None if stated is None else stated.signature,
        }

    def _check(self, inputs: v.Inputs) -> None:
        try:
            v.check(inputs, self._keys)
        except v.Broken as broken:
            raise Tampered(broken.kind, broken.place, broken.sentence) from broken
        state: Payment | None = None
        try:
            for event in inputs.events:
                state = evolve(state, self._decode(event.raw))
        except (CorruptHistory, Undecodable) as error:
            raise Tampered("FOLD", "events", str(error)) from error
        assert state is not None
        difference = v.first_difference(state_of(state), v.derive_state(inputs.events), "state")
        if difference is not None:
            raise Tampered("FOLD", *difference)


def check_size(events: int, outcomes: int, leaves: int) -> None:
    """Raises TooLong if that is too much for one pack."""
    for count, most, what in (
        (events, EVENTS_COUNT_MAX, "events"),
        (outcomes, OUTCOMES_COUNT_MAX, "outcome records"),
        (leaves, LEAVES_COUNT_MAX, "payments in the range of its checkpoint"),
    ):
        if count > most:
            raise TooLong(
                f"The payment has more than {most} {what}: more than one pack holds. Its events "
                "are at /api/payments/{id}/events."
            )


def bytes_of(pack: dict[str, Any]) -> bytes:
    """The pack's file. Raises TooLong if it is larger than the verification accepts."""
    content = v.canonical(pack)
    if len(content) > v.PACK_BYTES_MAX:
        raise TooLong(f"The pack would have more than {v.PACK_BYTES_MAX} bytes.")
    return content


def pack_of(inputs: v.Inputs, *, proof: bool) -> dict[str, Any]:
    """The pack as a value; `verify_evidence.canonical` gives its bytes."""
    return v.assemble(inputs, with_proof=proof)


def view_of(inputs: v.Inputs) -> dict[str, Any]:
    """A masked pack, for people who may not see personal data; it cannot be verified."""
    pack = pack_of(inputs, proof=False)
    pack["statement"]["sentences"] = [NOT_A_PROOF, *pack["statement"]["sentences"][:-1]]
    masked: dict[str, Any] = _masked(pack)
    return {**masked, "format": v.VIEW_FORMAT, "notAProof": NOT_A_PROOF}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: MASKED if name in MASKED_FIELDS and each is not None else _masked(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return value


def public_keys(keyring: Keyring) -> dict[str, v.Key]:
    """The keyring's keys by id, in the form that the verification needs."""
    return {
        each.key_id: v.Key(
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(each.public_key)),
            each.valid_from,
            each.valid_until,
            each.revoked_at,
        )
        for each in keyring.listed()
    }


def state_of(state: Payment) -> dict[str, Any]:
    """Core's state in the form of a pack's `state`."""
    return {
        "state": state.state,
        "reason": state.reason,
        "moneyOutcome": money_outcome(state),
        "amount": state.amount,
        "currency": state.currency,
        "sequence": state.sequence,
        "createdAt": state.created_at,
        "decidedAt": state.decided_at,
        "ruleSet": state.rule_set,
        "lastLifecycleEvent": state.last_lifecycle_event,
        "openConflicts": open_conflicts(state),
        "parked": state.parked,
        "attempts": [
            {
                "attempt": each.number,
                "externalRef": external_ref(state.payment_intent_id, each.number)
                if state.authorised_at
                else None,
                "state": each.state,
                "reason": each.reason,
                "outcome": each.outcome,
                "nonPaymentCertain": each.certain,
                "lateFailure": each.late_failure,
                "endedAt": each.ended_at,
                "settled": each.settled,
                "held": each.held,
                "captured": each.captured,
                "released": each.released,
                "debited": each.debited,
                "reversed": each.reversed,
                "credited": each.credited,
            }
            for each in state.attempts
        ],
    }
