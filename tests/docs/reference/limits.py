"""The reference page of the input limits: the maximum length of each text of each record."""

from __future__ import annotations

from typing import Final

from app.rule_files import PRODUCTION_RULES, rules_of
from core.payment import limits
from core.payment.commands import INPUTS
from core.payment.operator.checks import PAY_ID_CHARACTERS_MAX
from core.rules import Limits
from schemas import catalogue
from schemas.codec.avro_binary import ITEMS_MAX
from tests.docs.reference.markdown import page, table

_SHARED: Final = ("header", "operator")


def limits_page() -> str:
    """Every text of every input, and the largest record of each input topic."""
    own = rules_of(PRODUCTION_RULES).limits
    parts = [
        [
            (
                "What can be decoded is answered: a text over its limit makes an outcome "
                "`VALIDATION_FAILED` / `FIELD_INVALID` whose sentence names the field and its "
                "limit. Nothing is cut short. No text may hold NUL. Lengths are in characters "
                "(Unicode code points). A record that is larger than its topic takes, or that no "
                "schema reads, cannot be answered: it is kept in quarantine as `UNDECODABLE`."
            )
        ],
        [
            "## In every record",
            "",
            *table(("field", "characters at most"), _rows(_of_holders(_SHARED), own)),
            "",
            (
                "`operator…` fields are in operators' commands only. An outcome about a "
                "`commandId` that is too long carries none. A `paymentIntentId` that is too long "
                "can be no payment's: the outcome is `MISROUTED`, its own id is empty, and the "
                "cause names the record."
            ),
        ],
        ["## By record", "", *_by_record(own)],
        [
            "## Party details",
            "",
            (
                "Inside `parties`. A BSB, account or PayID that NPP does not allow is "
                "`INVARIANT_VIOLATION` / `NPP_CONSTRAINT`."
            ),
            "",
            *table(("field", "limit or format"), _parties(own)),
        ],
        [
            "## Records",
            "",
            f"A list has at most {ITEMS_MAX:,} items before it is looked at field by field.",
            "",
            *table(("input topic", "largest record, bytes"), _topics()),
        ],
    ]
    return page("Limits of inputs", *parts)


def _of_holders(holders: tuple[str, ...]) -> limits.Table:
    found: limits.Table = {}
    for entries in limits.TEXTS.values():
        found |= {p: most for p, most in entries.items() if p.partition(".")[0] in holders}
    return found


def _rows(entries: limits.Table, own: Limits) -> list[tuple[str, str]]:
    rows = []
    for path, most in entries.items():
        number = most if isinstance(most, int) else getattr(own, most)
        listed = limits.ENTRIES.get(path.rpartition(".")[2])
        each = f"{number:,}" if listed is None else f"{number:,} each, {listed} entries"
        rows.append((f"`{'.'.join(limits.wire_name(part) for part in path.split('.'))}`", each))
    return rows


def _by_record(own: Limits) -> list[str]:
    lines: list[str] = []
    for kind in INPUTS:
        rest = {
            path: most
            for path, most in limits.TEXTS[kind].items()
            if path.partition(".")[0] not in _SHARED
        }
        head = ("field", "characters at most")
        lines += [f"### {kind.__name__}", "", *table(head, _rows(rest, own)), ""]
    return lines[:-1]


def _parties(own: Limits) -> list[tuple[str, str]]:
    return [
        ("`name`", f"{own.name_characters_max} characters"),
        ("`bsb`", "six ASCII digits"),
        ("`account`", "one to nine ASCII digits"),
        ("`payIdType`", "TELI, EMAL, AUBN or ORGN; of the creditor only"),
        ("`payId`", f"{PAY_ID_CHARACTERS_MAX} characters, in the form of its type"),
        ("`remittance`", f"{own.remittance_characters_max} characters"),
    ]


def _topics() -> list[tuple[str, str]]:
    file = catalogue.load()
    return [(f"`{t.name}`", f"{file.record_bytes_max(t.name):,}") for t in file.inputs()]
