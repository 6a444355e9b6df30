"""Online verification: compares the read model, and a pack if one is given, with the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from control.fold import Control
from core.dispositions import Dispositions
from engine.records import LogRecord
from evidence import verify_evidence as v
from evidence.chain import event_hash, read_link
from evidence.log import EvidenceLog
from evidence.packs.pack import Tampered
from readmodel.ports import Reader
from schemas.codec import Codec
from schemas.topology import CHECKPOINTS, CONTROL, EVENTS, OPERATOR_COMMANDS, OUTCOMES

Answer = dict[str, Any]
PASSED_ON = (
    "rulings",
    "events",
    "through",
    "unsigned",
    "checkpoint",
    "says",
    "notYetSigned",
    "keyNote",
)
LEFT_TO_THE_LOG = ("NOT_SIGNED", "NO_PROOF")  # here the comparison with the log is the proof


class Maker(Protocol):
    """Makes packs: evidence.packs.service."""

    def build(self, payment_intent_id: str, as_of: str | None, *, proof: bool) -> tuple[str, bytes]:
        """See api.services.Evidence."""

    def offline(self, pack: bytes) -> Answer:
        """What a pack proves by itself."""


class Online:
    """Verifies one payment against the log."""

    def __init__(self, reader: Reader, log: EvidenceLog, codec: Codec) -> None:
        self._reader = reader
        self._log = log
        self._codec = codec

    def verify(self, maker: Maker, payment: str, pack: bytes | None) -> Answer:
        """`{verdict, through, unsigned, hash, …}` of the given pack, else of the current one.

        Raises KeyError for a payment that the read model does not know, TimeoutError, engine errors
        when Kafka does not answer.
        """
        answer: Answer = {
            "verdict": v.BROKEN, "verified": False,
            "hash": None if pack is None else v.sha256(pack), "paymentIntentId": payment,
            "problem": None,
        }  # fmt: skip
        try:
            as_of, made = maker.build(payment, None, proof=True)
            offline = maker.offline(made)
            answer |= {
                "hash": answer["hash"] or offline["hash"], "asOf": as_of,
                **{n: offline.get(n) for n in PASSED_ON},
            }  # fmt: skip
            if offline["problem"] and offline["problem"]["kind"] not in LEFT_TO_THE_LOG:
                problem = offline["problem"]
                raise v.Broken(problem["kind"], problem["place"], problem["sentence"])
            answer["log"] = self._compare(payment, v.read_pack(made))
            if pack is not None:
                answer["pack"] = self._given(maker, payment, pack)
        except (v.Broken, Tampered) as broken:
            answer["problem"] = {
                "kind": broken.kind, "place": broken.place, "sentence": broken.sentence,
            }  # fmt: skip
            return answer
        covered = answer if pack is None else answer["pack"]
        answer |= {n: covered[n] for n in ("through", "unsigned")}
        return answer | {"verified": True, "verdict": v.verdict_of(answer["unsigned"])}

    # -- a pack that was given -------------------------------------------------------------------

    def _given(self, maker: Maker, payment: str, pack: bytes) -> Answer:
        offline = maker.offline(pack)
        problem = offline["problem"]
        if problem is not None and problem["kind"] not in LEFT_TO_THE_LOG:
            raise v.Broken(problem["kind"], f"pack: {problem['place']}", problem["sentence"])
        with_proof = problem is None or problem["kind"] != "NO_PROOF"
        given = v.read_text(pack)
        if given.get("paymentIntentId") != payment:
            raise v.Broken("PAYMENT", "pack: paymentIntentId", "it is a pack of another payment")
        as_of = str(given.get("asOf"))
        try:
            _, made = maker.build(payment, as_of, proof=with_proof)
        except ValueError as error:
            raise v.Broken("AS_OF", "pack: asOf", str(error)) from None
        if made != pack:
            own = v.read_pack(made) if with_proof else v.read_text(made)
            found = v.first_difference(own, given, "")
            place, why = found or ("file", "other bytes than this system gives for that asOf")
            raise v.Broken("CONTENT", f"pack: {place}", why)
        through, unsigned = v.signed_extent(given)
        return {
            "asOf": as_of, "includesReplayProof": with_proof, "through": through,
            "unsigned": unsigned,
        }  # fmt: skip

    # -- the log ---------------------------------------------------------------------------------

    def _compare(self, payment: str, pack: Mapping[str, Any]) -> Answer:
        """Compare every raw value of the pack with the log, and check what came later. Raises
        Broken.
        """
        proof = pack["replayProof"]
        partition = int(proof["partition"])
        events = proof["events"]
        offsets = [int(each["offset"]) for each in events]
        there = self._log.at(EVENTS, partition, offsets)
        for each in events:
            place = f"sequence {each['sequence']} at {EVENTS}[{partition}]@{each['offset']}"
            _same(there.get(each["offset"]), each["raw"], payment.encode(), place)
        for where in sorted({int(each["partition"]) for each in proof["outcomes"]}):
            listed = [each for each in proof["outcomes"] if each["partition"] == where]
            found = self._log.at(OUTCOMES, where, [int(each["offset"]) for each in listed])
            for each in listed:
                place = f"outcome at {OUTCOMES}[{where}]@{each['offset']}"
                _same(found.get(each["offset"]), each["raw"], None, place)
        self._compare_checkpoint(partition, proof["checkpoint"])
        given = [each["command"] for each in proof["outcomes"] if each["command"] is not None]
        refused = [*pack["operatorActions"]["notExecuted"], *pack["notYetSigned"]["notExecuted"]]
        for action, raw in zip(refused, given, strict=True):
            self._compare_command(action, raw)
        ruled = self._compare_rulings(payment, partition, proof["rulings"])
        later = self._later(payment, partition, events, ruled)
        return {"events": len(events), "outcomes": len(proof["outcomes"]), **later}

    def _compare_checkpoint(self, partition: int, listed: Mapping[str, Any] | None) -> None:
        if listed is None:
            return
        number = int(listed["record"]["number"])
        row = self._reader.checkpoint(partition, number)
        place = f"checkpoint {number}"
        if row is None:
            raise v.Broken("LOG", place, "the read model has lost its place on the log")
        found = self._log.at(CHECKPOINTS, partition, [row.log_offset]).get(row.log_offset)
        _same(found, listed["raw"], None, f"{place} at {CHECKPOINTS}[{partition}]@{row.log_offset}")

    def _compare_command(self, action: Mapping[str, Any], raw: str) -> None:
        cause = action["cause"]
        partition, offset = int(cause["partition"]), int(cause["offset"])
        place = f"{action['action']} at {OPERATOR_COMMANDS}[{partition}]@{offset}"
        found = self._log.at(OPERATOR_COMMANDS, partition, [offset]).get(offset)
        _same(found, raw, None, place)

    def _compare_rulings(
        self, payment: str, partition: int, listed: list[Mapping[str, Any]]
    ) -> Dispositions:
        """Compare the pack's rulings with those on the control topic. Raises Broken."""
        control = Control(self._codec.decode)
        acts = {record.offset: record for record in self._log.control()}
        for record in acts.values():
            if record.value is not None:
                control.apply(record.offset, record.value, record.timestamp_ms)
        there = control.dispositions.of_payment(payment)
        expected = [(each.request_offset, each.confirm_offset) for each in there]
        found = [(each["request"]["offset"], each["confirmation"]["offset"]) for each in listed]
        if found != expected:
            why = f"two people ruled {len(expected)} times on the log, {len(found)} are listed"
            raise v.Broken("LOG", "rulings", why)
        for ruled, each in zip(there, listed, strict=True):
            for name in ("request", "confirmation"):
                offset = each[name]["offset"]
                place = f"{name} of a ruling at {CONTROL}[0]@{offset}"
                _same(acts.get(offset), each[name]["raw"], None, place)
            if each["record"] is not None:
                offset = ruled.request.offset
                place = f"{EVENTS}[{partition}]@{offset}"
                skipped = self._log.at(EVENTS, partition, [offset]).get(offset)
                _same(skipped, each["record"], None, place)
        return control.dispositions

    def _later(
        self,
        payment: str,
        partition: int,
        events: list[Mapping[str, Any]],
        ruled: Dispositions,
    ) -> Answer:
        """Read the payment's records on the log from its first event on. There must be none between
        the pack's events, and later ones must continue its chain. Raises Broken.
        """
        projected = self._reader.projected().get((EVENTS, partition), 0)
        first, last = int(events[0]["offset"]), events[-1]
        found = self._log.later(EVENTS, partition, payment.encode(), first)
        known = {int(each["offset"]) for each in events}
        later = [
            (offset, raw)
            for offset, raw in found.values
            if offset not in known and not ruled.skips(partition, offset, raw)
        ]
        newer = self._reader.events(payment, int(last["sequence"]), len(later) + 1)
        shown = {row.offset for row in newer}
        sequence, head = int(last["sequence"]), bytes.fromhex(last["hash"])
        for offset, raw in later:
            place = f"{EVENTS}[{partition}]@{offset}"
            if offset < int(last["offset"]):
                raise v.Broken("LOG", place, "an event is there that the history does not have")
            try:
                link = read_link(raw)
            except ValueError as error:
                raise v.Broken("LOG", place, f"it is no event: {error}") from None
            sequence += 1
            if link.sequence != sequence:
                why = f"expected sequence {sequence}, found {link.sequence}"
                raise v.Broken("LOG", place, why)
            if link.payment_intent_id != payment or link.previous_hash != head:
                raise v.Broken("LOG", place, "it does not continue the payment's chain")
            head = event_hash(raw)
            if offset < projected and offset not in shown:
                raise v.Broken("LOG", place, "the read model lacks an event that is there")
        return {
            "laterEvents": len(later), "readTo": found.read_to, "end": found.end,
            "complete": found.read_to >= found.end,
        }  # fmt: skip


def _same(found: LogRecord | None, raw: str, key: bytes | None, place: str) -> None:
    if found is None or found.value is None:
        raise v.Broken("LOG", place, "there is no such record on the log")
    if key is not None and found.key != key:
        raise v.Broken("LOG", place, "the log has another payment's record there")
    if v.base64_of(found.value) != raw:
        raise v.Broken("LOG", place, "the log has other bytes there")
