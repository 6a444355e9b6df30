"""An evidence pack for reading: its JSON's content as PDF, with the JSON's SHA-256 on each page.

Nothing of it is a proof: the JSON is, which it carries as an attachment. Text is drawn, not
interpreted, so markup in it stays text. The same JSON gives the same PDF bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from core.values import CURRENCY, Cents, format_amount
from evidence.packs.attachment import attach
from evidence.packs.type import SANS, Type
from evidence.verify_evidence import (
    BROKEN,
    VIEW_FORMAT,
    Key,
    attached,
    ruling_sentence,
    verify_file,
)

MARGIN: Final = 42.0  # points
FOOTER: Final = 26.0
SIZE: Final = 8.0
LEADING: Final = 1.35  # of the size
INDENT: Final = 12.0
PAGES_COUNT_MAX: Final = 4_000
TIMES: Final = frozenset(
    {
        "at", "createdAt", "decidedAt", "endedAt", "requestedAt", "expiresAt", "verifiedAt",
        "submitBefore", "signedAt", "requestedExecutionTime", "submittedAt", "answeredAt",
        "frozenUntil", "deadline", "since", "deliveredAt", "confirmedAt",
    }
)  # fmt: skip
AMOUNTS: Final = frozenset(
    {
        *("amount", "settled", "held", "captured", "released", "debited", "reversed", "credited"),
        *("waived", "returned", "total"),
    }
)
EMPTY: Final[tuple[object, ...]] = (None, [], {}, "")


def pdf_of(content: bytes) -> bytes:
    """The PDF of a pack's (or view's) JSON. Raises ValueError when it is neither."""
    pack = json.loads(content)
    if not isinstance(pack, dict) or "lifecycleEvents" not in pack:
        raise ValueError("neither an evidence pack nor a view of one")
    return _Document(pack, content).made()


def verify_pdf(pdf: bytes, keys: Mapping[str, Key]) -> dict[str, Any]:
    """`verify_evidence.verify` of the pack that a PDF carries; BROKEN, too, where the PDF is not
    byte for byte what is printed of that pack: its pages would say something else.
    """
    answer = verify_file(pdf, keys)
    answer.pop("note", None)
    if answer["verdict"] != BROKEN:
        problem = pages_problem(pdf)
        if problem is not None:
            answer |= {"verdict": BROKEN, "verified": False, "problem": problem}
    return answer


def pages_problem(pdf: bytes) -> dict[str, str] | None:
    """What is wrong with the pages of a PDF whose pack was verified, or None."""
    if pdf_of(attached(pdf)) == pdf:
        return None
    sentence = (
        "its pages are not what this release prints of the pack in it: save the attached JSON, "
        "and read and verify that"
    )
    return {"kind": "PDF", "place": "pages", "sentence": sentence}


@lru_cache(maxsize=1)
def type_() -> Type:
    """Fonts are read once a process."""
    return Type()


class _Document:
    def __init__(self, pack: dict[str, Any], content: bytes) -> None:
        self._pack = pack
        self._json = content
        self._digest = hashlib.sha256(content).hexdigest()
        self._type = type_()
        self._buffer = io.BytesIO()
        self._canvas = Canvas(self._buffer, pagesize=A4, invariant=1, pageCompression=1)
        self._width, self._height = A4
        self._page = 0
        self._y = 0.0
        self._missing: dict[str, None] = {}
        self._view = pack.get("format") == VIEW_FORMAT

    def made(self) -> bytes:
        name = str(self._pack["paymentIntentId"])
        title = "View of an evidence pack, not a proof" if self._view else "Evidence pack"
        self._canvas.setTitle(f"{title} {name}")
        self._canvas.setAuthor("NPP Orchestrator")
        self._canvas.setSubject(f"SHA-256 of the JSON: {self._digest}")
        self._begin_page()
        self._line(title, size=15.0)
        self._line(name, size=11.0)
        self._field("as of", self._pack["asOf"])
        state = self._pack["state"]
        self._field("state", f"{state['state']}, money {state['moneyOutcome']}")
        for sentence in self._pack["statement"]["sentences"]:
            self._line(sentence)
        where = "" if self._view else ", which this PDF carries as an attachment"
        self._line(
            f"The proof is the JSON file with the SHA-256 below{where}; this document is for "
            "reading. Times are UTC; empty fields are left out."
        )
        self._content()
        self._end_notes()
        self._end_page()
        if not self._view:
            attach(self._canvas, f"evidence_pack_{name}.json", self._json)
        self._canvas.save()
        return self._buffer.getvalue()

    def _content(self) -> None:
        pack = self._pack
        self._heading("1  Payment intent: original details")
        self._fields(pack["paymentIntent"])
        self._heading("2  Rail decisions: policy checks, balance verification, authorisations")
        for name in ("policyChecks", "balanceVerification", "authorisations"):
            for entry in pack["railDecisions"][name]:
                self._entry(f"{entry['sequence']}  {entry['type']}", entry)
        self._heading("3  Lifecycle events: all events in order")
        for event in pack["lifecycleEvents"]:
            self._event(event)
        if pack["rulings"]:
            self._heading("3a  Rulings of two persons on records that name this payment")
            for ruling in pack["rulings"]:
                self._line(ruling_sentence(ruling))
                self._entry(f"{ruling['ruling']} at offset {ruling['offset']}", ruling)
        self._heading("4  Operator actions")
        actions = pack["operatorActions"]
        for kind, words in (("executed", "executed"), ("notExecuted", "not executed")):
            for action in actions[kind]:
                by = f"{action['action']} by {action['operatorId']}, {words}"
                self._entry(by, action)
            if not actions[kind]:
                self._line(f"None {words}.")
        for approval in actions["approvals"]:
            self._entry(f"Approval {approval['approvalId']}: {approval['action']}", approval)
        self._line(actions["note"])
        self._heading("5  Resulting state")
        self._fields(pack["state"])
        self._heading("6  Not yet signed: does not count for the state above")
        later = pack["notYetSigned"]
        for event in later["events"]:
            self._event(event)
        for action in later["notExecuted"]:
            self._entry(f"{action['action']} by {action['operatorId']}, not executed", action)
        if not later["events"] and not later["notExecuted"]:
            self._line("Nothing.")
        self._heading("7  Replay proof")
        self._proof()

    def _event(self, event: dict[str, Any]) -> None:
        moved = event["toState"]
        if event["fromState"] not in (None, moved):
            moved = f"{event['fromState']} to {moved}"
        at = time_of(event["record"]["header"]["decidedAt"])
        mark = "  (lifecycle)" if event["lifecycle"] else ""
        self._entry(f"{event['sequence']}  {event['type']}{mark}  {moved}  {at}", event["record"])
        if event["note"]:
            self._line(event["note"], INDENT)
        if not self._view:
            self._field("SHA-256", f"{event['hash']}, offset {event['offset']}", INDENT)

    def _proof(self) -> None:
        proof = self._pack.get("replayProof")
        if proof is None:
            self._line(
                "Not part of a view." if self._view else "Left out on request: not verifiable."
            )
            return
        self._line(
            f"Journal partition {proof['partition']}. Each event names the SHA-256 of the bytes "
            "of the event before it; raw bytes and schemas are in the JSON."
        )
        checkpoint = proof["checkpoint"]
        if checkpoint is None:
            self._line("No checkpoint covers this payment yet.")
        else:
            self._entry(f"Checkpoint {checkpoint['record']['number']}", checkpoint["record"])
            leaf = checkpoint["leaf"]
            self._entry(f"Merkle leaf {leaf['index']}: sequence {leaf['sequence']}", leaf)
        for number, schema in sorted(proof["schemas"].items(), key=lambda item: int(item[0])):
            self._field(f"schema {number}", f"{schema['schema']['name']}, SHA-256 "
                        f"{schema['sha256']}, stated by {schema['keyId']}")  # fmt: skip

    def _end_notes(self) -> None:
        if self._missing:
            self._heading("Characters that are printed as code points")
            for character in self._missing:
                self._line(f"U+{ord(character):04X} {_name(character)}", INDENT)

    # -- lines -----------------------------------------------------------------------------------

    def _heading(self, text: str) -> None:
        self._room(40)
        self._y -= 8
        self._line(text, size=10.5)
        self._canvas.setLineWidth(0.4)
        self._canvas.line(MARGIN, self._y - 3, self._width - MARGIN, self._y - 3)
        self._y -= 4

    def _entry(self, title: str, values: dict[str, Any]) -> None:
        self._room(30)
        self._y -= 2
        self._line(title, size=8.5)
        shown = "  ·  ".join(f"{name} {value}" for name, value in flat(values))
        self._line(shown, INDENT, 7.0)

    def _fields(self, values: dict[str, Any]) -> None:
        for name, value in flat(values):
            self._field(name, value)

    def _field(self, name: str, value: object, indent: float = 0.0) -> None:
        self._line(f"{name}: {value}", indent)

    def _line(self, text: str, indent: float = 0.0, size: float = SIZE) -> None:
        """One text, wrapped."""
        self._missing |= dict.fromkeys(self._type.missing(text))
        room = self._width - 2 * MARGIN - indent
        for runs in self._wrapped(text, room / size):
            self._room(size * LEADING)
            self._y -= size * LEADING
            drawn = self._canvas.beginText(MARGIN + indent, self._y)
            for font, part in runs:
                drawn.setFont(font, size)
                drawn.textOut(part)
            self._canvas.drawText(drawn)

    def _wrapped(self, text: str, room: float) -> Iterator[list[tuple[str, str]]]:
        """Lines as runs; `room` is their width at size 1."""
        runs = [(SANS, text)] if self._type.plain(text) else self._type.runs(text)
        line: list[tuple[str, str]] = []
        used = 0.0
        for font, part in runs:
            begin = at = 0
            space = -1
            while at < len(part):
                width = self._type.character_width(part[at], font)
                if used + width > room and (line or at > begin):
                    cut = space + 1 if space >= begin else at
                    yield [*line, (font, part[begin:cut])]
                    line, begin, at, used, space = [], cut, cut, 0.0, -1
                    continue
                if part[at] == " ":
                    space = at
                used += width
                at += 1
            line.append((font, part[begin:]))
        yield line

    # -- pages -----------------------------------------------------------------------------------

    def _room(self, height: float) -> None:
        if self._y - height < MARGIN + FOOTER:
            self._end_page()
            self._begin_page()

    def _begin_page(self) -> None:
        self._page += 1
        if self._page > PAGES_COUNT_MAX:
            raise ValueError(f"more than {PAGES_COUNT_MAX} pages: take the JSON")
        self._y = self._height - MARGIN

    def _end_page(self) -> None:
        self._canvas.setFont(SANS, 6.5)
        words = f"SHA-256 of the JSON: {self._digest}"
        self._canvas.drawString(MARGIN, MARGIN, words)
        right = f"{'NOT A PROOF  ·  ' if self._view else ''}page {self._page}"
        self._canvas.drawRightString(self._width - MARGIN, MARGIN, right)
        self._canvas.showPage()


def flat(values: Any, name: str = "", currency: str = CURRENCY) -> Iterator[tuple[str, str]]:
    """Names and values of nested content, in a fixed order; empty ones are left out. Amounts are in
    the `currency` that is beside or around them.
    """
    if isinstance(values, dict):
        beside = values.get("currency")
        currency = beside if isinstance(beside, str) and beside else currency
        for key, value in values.items():
            yield from flat(value, f"{name}.{key}" if name else key, currency)
    elif isinstance(values, list):
        if all(isinstance(each, str) for each in values):
            if values:
                yield name, ", ".join(values)
            return
        for index, value in enumerate(values):
            yield from flat(value, f"{name}[{index + 1}]", currency)
    elif values not in EMPTY:
        yield name, _shown(name.rpartition(".")[2], values, currency)


def _shown(name: str, value: Any, currency: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name in TIMES:
        return time_of(value)
    if isinstance(value, int) and name in AMOUNTS:
        return format_amount(Cents(value), currency)
    return str(value)


def time_of(epoch_ms: int) -> str:
    """Epoch milliseconds as UTC; numbers that are no time of ours stay numbers."""
    try:
        stamp = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return str(epoch_ms)
    return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


def _name(character: str) -> str:
    return unicodedata.name(character, "(no name)")
