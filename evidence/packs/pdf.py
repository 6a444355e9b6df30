"""An evidence pack for reading: first in words, then its JSON field by field, with the JSON's
SHA-256 on each page.

The PDF is not a proof; the attached JSON is. The same JSON gives the same PDF bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from evidence.packs import reading
from evidence.packs.attachment import attach
from evidence.packs.sheet import INDENT, Sheet
from evidence.packs.words import flat, time_of
from evidence.verify_evidence import (
    BROKEN,
    VIEW_FORMAT,
    Key,
    attached,
    ruling_sentence,
    verify_file,
)


def pdf_of(content: bytes) -> bytes:
    """The PDF of a pack's (or view's) JSON. Raises ValueError when it is neither."""
    pack = json.loads(content)
    if not isinstance(pack, dict) or "lifecycleEvents" not in pack:
        raise ValueError("neither an evidence pack nor a view of one")
    return _Document(pack, content).made()


def verify_pdf(pdf: bytes, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Verify the pack attached to a PDF, as `verify_evidence.verify` does. It is also BROKEN if the
    PDF is not byte for byte what this release prints of that pack: its pages may say something
    else.
    """
    answer = verify_file(pdf, keys)
    answer.pop("note", None)
    if answer["verdict"] != BROKEN:
        problem = pages_problem(pdf)
        if problem is not None:
            answer |= {"verdict": BROKEN, "verified": False, "problem": problem}
    return answer


def pages_problem(pdf: bytes) -> dict[str, str] | None:
    """What is wrong with the pages of a PDF whose pack is verified, or None."""
    if pdf_of(attached(pdf)) == pdf:
        return None
    sentence = (
        "its pages are not what this release prints of the pack in it: save the attached JSON, "
        "and read and verify that"
    )
    return {"kind": "PDF", "place": "pages", "sentence": sentence}


class _Document:
    def __init__(self, pack: dict[str, Any], content: bytes) -> None:
        self._pack = pack
        self._json = content
        digest = hashlib.sha256(content).hexdigest()
        self._view = pack.get("format") == VIEW_FORMAT
        self._sheet = Sheet(
            f"SHA-256 of the JSON: {digest}", "NOT A PROOF  ·  " if self._view else ""
        )
        self._title = "View of an evidence pack, not a proof" if self._view else "Evidence pack"
        canvas = self._sheet.canvas
        canvas.setTitle(f"{self._title} {pack['paymentIntentId']}")
        canvas.setAuthor("NPP Orchestrator")
        canvas.setSubject(f"SHA-256 of the JSON: {digest}")

    def made(self) -> bytes:
        self._in_words()
        self._raw()
        self._sheet.end()
        if not self._view:
            name = f"evidence_pack_{self._pack['paymentIntentId']}.json"
            attach(self._sheet.canvas, name, self._json)
        return self._sheet.made()

    # -- for people ------------------------------------------------------------------------------

    def _in_words(self) -> None:
        pack, sheet = self._pack, self._sheet
        sheet.line(self._title, size=15.0)
        sheet.line(str(pack["paymentIntentId"]), size=11.0)
        sheet.heading("1  Summary")
        sheet.line(reading.headline(pack), size=9.5)
        sheet.gap(3)
        sheet.table((1, 5), list(reading.summary(pack)))
        sheet.gap(3)
        for sentence in pack["statement"]["sentences"]:
            sheet.line(sentence)
        where = "" if self._view else ", which this PDF carries as an attachment"
        sheet.line(
            f"The proof is the JSON file with the SHA-256 below{where}; this document is for "
            "reading. Times are UTC; empty fields are left out."
        )
        sheet.heading("2  Timeline: lifecycle events, and all others, in order")
        currency = str(pack["state"].get("currency") or "")
        shares = (0.5, 2.9, 5.2, 2.5, 2.2)
        sheet.table(shares, list(reading.timeline(pack["lifecycleEvents"], currency)))
        self._later(currency, shares)
        sheet.heading("3  Money")
        sheet.table((0.5, 2.9, 1, 3.2, 1.4, 3), list(reading.money(pack)))
        sheet.gap(6)
        sheet.table((1, *(1.2 for _ in reading.TOTALS)), list(reading.totals(pack)))
        sheet.heading("4  People: operator actions and approvals")
        self._people()
        if pack["rulings"]:
            sheet.heading("4a  Rulings of two people on records that name this payment")
            for ruling in pack["rulings"]:
                sheet.line(ruling_sentence(ruling))
                self._entry(f"{ruling['ruling']} at offset {ruling['offset']}", ruling)
        sheet.heading("5  Replay proof")
        for sentence in reading.proof(pack):
            sheet.line(sentence)
        sheet.heading("6  How to verify")
        for sentence in reading.HOW_TO_VERIFY:
            sheet.line(sentence)

    def _later(self, currency: str, shares: tuple[float, ...]) -> None:
        later = self._pack["notYetSigned"]
        if not later["events"] and not later["notExecuted"]:
            return
        self._sheet.keep(80)
        self._sheet.gap(6)
        self._sheet.line("Not yet signed: does not count for the state above, and proves nothing.")
        self._sheet.table(shares, list(reading.timeline(later["events"], currency)))

    def _people(self) -> None:
        actions, sheet = self._pack["operatorActions"], self._sheet
        rows = list(reading.people(actions))
        if len(rows) > 1:
            sheet.table((2.9, 1.6, 5, 3.8), rows)
        else:
            sheet.line("Nobody acted on this payment.")
        sheet.gap(3)
        sheet.line(actions["note"])

    # -- every field -----------------------------------------------------------------------------

    def _raw(self) -> None:
        pack, sheet = self._pack, self._sheet
        sheet.heading("A  Payment intent: original details, every field")
        self._fields(pack["paymentIntent"])
        sheet.heading("B  Rail decisions: policy checks, balance verification, authorisations")
        for name in ("policyChecks", "balanceVerification", "authorisations"):
            for entry in pack["railDecisions"][name]:
                self._entry(f"{entry['sequence']}  {entry['type']}", entry)
        sheet.heading("C  Lifecycle events: every field")
        for event in pack["lifecycleEvents"]:
            self._event(event)
        sheet.heading("D  Operator actions: every field")
        actions = pack["operatorActions"]
        for kind, words in (("executed", "executed"), ("notExecuted", "not executed")):
            for action in actions[kind]:
                self._entry(f"{action['action']} by {action['operatorId']}, {words}", action)
            if not actions[kind]:
                sheet.line(f"None {words}.")
        for approval in actions["approvals"]:
            self._entry(f"Approval {approval['approvalId']}: {approval['action']}", approval)
        sheet.heading("E  Resulting state: every field")
        self._fields(pack["state"])
        sheet.heading("F  Not yet signed: every field")
        later = pack["notYetSigned"]
        for event in later["events"]:
            self._event(event)
        for action in later["notExecuted"]:
            self._entry(f"{action['action']} by {action['operatorId']}, not executed", action)
        if not later["events"] and not later["notExecuted"]:
            sheet.line("Nothing.")
        sheet.heading("G  Replay proof: every field")
        self._proof()

    def _event(self, event: dict[str, Any]) -> None:
        moved = reading.state_change(event)
        at = time_of(event["record"]["header"]["decidedAt"])
        mark = "  (lifecycle)" if event["lifecycle"] else ""
        self._entry(f"{event['sequence']}  {event['type']}{mark}  {moved}  {at}", event["record"])
        if not self._view:
            self._sheet.field("SHA-256", f"{event['hash']}, offset {event['offset']}", INDENT)

    def _proof(self) -> None:
        proof = self._pack.get("replayProof")
        if proof is None:
            self._sheet.line(
                "Not part of a view." if self._view else "Left out on request: not verifiable."
            )
            return
        checkpoint = proof["checkpoint"]
        if checkpoint is None:
            self._sheet.line("No checkpoint covers this payment yet.")
        else:
            self._entry(f"Checkpoint {checkpoint['record']['number']}", checkpoint["record"])
            leaf = checkpoint["leaf"]
            self._entry(f"Merkle leaf {leaf['index']}: sequence {leaf['sequence']}", leaf)
        for number, schema in sorted(proof["schemas"].items(), key=lambda item: int(item[0])):
            self._sheet.field(f"schema {number}", f"{schema['schema']['name']}, SHA-256 "
                              f"{schema['sha256']}, stated by {schema['keyId']}")  # fmt: skip

    def _entry(self, title: str, values: dict[str, Any]) -> None:
        self._sheet.keep(30)
        self._sheet.gap(2)
        self._sheet.line(title, size=8.5)
        shown = "  ·  ".join(f"{name} {value}" for name, value in flat(values))
        self._sheet.line(shown, INDENT, 7.0)

    def _fields(self, values: dict[str, Any]) -> None:
        for name, value in flat(values):
            self._sheet.field(name, value)
