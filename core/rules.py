"""The numbered rules that a decision reads besides the input and the state: limits, windows, code
tables, caps.

One file `core/rules/<n>.yaml` each, shipped with the release and pinned by its SHA-256 on the
control topic. Nothing else, including the environment, changes them (domain §8). The caller reads
the file.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from core.values import Cents, FailureReason
from core.words import FailureReasonName

PROFILES: Final = frozenset({"production", "demo"})
DEFAULT_TABLE: Final = "default"
# The meaning of every unknown code (domain §6).
UNKNOWN_CODE_REASON: Final = FailureReason.RAIL.value
UNKNOWN_TABLE_ENDING: Final = "/unknown"  # of codeTable, where no sourced row maps the code


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Amounts in cents, lengths in characters, counts."""

    amount_cents_max: Cents
    attempts_max: int
    approvals_open_max: int
    approvals_max: int
    notes_max: int
    source_characters_max: int
    idempotency_key_characters_max: int
    name_characters_max: int
    free_text_characters_max: int
    remittance_characters_max: int
    end_to_end_id_characters_max: int
    transaction_id_characters_max: int


class Windows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds. The two lists are waits before the next try, in order. Enquiries end with the
    list, and then a conflict opens; requests to Deposits Core continue with the last wait.
    """

    execution_ahead_ms_max: int
    created_ms: int
    authorised_ms: int
    submit_ms: int
    overdue_attention_ms: int
    overdue_escalation_ms: int
    enquiry_waits_ms: tuple[int, ...]
    funds_repeat_waits_ms: tuple[int, ...]
    hold_repeat_ms_max: int
    never_held_margin_ms: int
    approval_request_ms: int
    approval_ms: int
    freeze_ms_max: int


class CodeRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one or more rail codes mean. A row without a source is RAIL and not retry-safe."""

    codes: tuple[str, ...]
    reason: FailureReasonName
    retry_safe: bool
    non_payment_certain: bool
    source: str = ""


class CodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    rows: tuple[CodeRow, ...]


class RulesFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written."""

    number: int
    profile: str
    limits: Limits
    windows: Windows
    tables: dict[str, CodeTable]
    resend_rejected_codes: tuple[str, ...]
    status_unknown_codes: tuple[str, ...]
    status_known_codes: tuple[str, ...]


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """A rail code read through its adapter's table. `table` names table and version, as in the
    event, and says when no sourced row of it maps the code.
    """

    reason: FailureReasonName
    retry_safe: bool
    non_payment_certain: bool
    table: str


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules ready for use. `sha256` is that of the file's bytes."""

    number: int
    profile: str
    sha256: bytes
    limits: Limits
    windows: Windows
    meanings: dict[str, dict[str, Meaning]]
    unknown: dict[str, Meaning]
    resend_rejected_codes: frozenset[str]
    status_unknown_codes: frozenset[str]
    status_known_codes: frozenset[str]

    def meaning(self, adapter: str, code: str | None) -> Meaning:
        """What `code` means when `adapter` reports it; an adapter without a table uses the default
        one.
        """
        table = adapter if adapter in self.meanings else DEFAULT_TABLE
        found = self.meanings[table].get(code) if code else None
        return found or self.unknown[table]


# msgspec builds a type's tables at its first use, and two threads that do so at once crash.
_PREPARED: Final = msgspec.json.Decoder(RulesFile)


def parse(raw: bytes) -> Rules:
    """Rules from the bytes of their file. Raises ValueError if they are invalid."""
    try:
        file = msgspec.yaml.decode(raw, type=RulesFile)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the rules cannot be read: {error}") from error
    _check(file)
    meanings = {name: _meanings(name, table) for name, table in file.tables.items()}
    unknown = {
        name: Meaning(
            reason=UNKNOWN_CODE_REASON,
            retry_safe=False,
            non_payment_certain=False,
            table=_unknown(_label(name, table)),
        )
        for name, table in file.tables.items()
    }
    return Rules(
        number=file.number,
        profile=file.profile,
        sha256=hashlib.sha256(raw).digest(),
        limits=file.limits,
        windows=file.windows,
        meanings=meanings,
        unknown=unknown,
        resend_rejected_codes=frozenset(file.resend_rejected_codes),
        status_unknown_codes=frozenset(file.status_unknown_codes),
        status_known_codes=frozenset(file.status_known_codes),
    )


def _meanings(name: str, table: CodeTable) -> dict[str, Meaning]:
    label = _label(name, table)
    found: dict[str, Meaning] = {}
    for row in table.rows:
        sourced = bool(row.source.strip())
        meaning = Meaning(
            reason=row.reason if sourced else UNKNOWN_CODE_REASON,
            retry_safe=row.retry_safe and sourced,
            non_payment_certain=row.non_payment_certain and sourced,
            table=label if sourced else _unknown(label),
        )
        for code in row.codes:
            if code in found:
                raise ValueError(f"table {name}: code {code} has two rows")
            found[code] = meaning
    return found


def _label(name: str, table: CodeTable) -> str:
    return f"{name}@{table.version}"


def _unknown(label: str) -> str:
    return label + UNKNOWN_TABLE_ENDING


def _check(file: RulesFile) -> None:
    if file.number < 1:
        raise ValueError("the number of a rule set is at least 1")
    if file.profile not in PROFILES:
        raise ValueError(f"profile {file.profile!r} is not one of {sorted(PROFILES)}")
    if DEFAULT_TABLE not in file.tables:
        raise ValueError("there is no default code table")
    for name, table in file.tables.items():
        for row in table.rows:
            if row.reason not in FailureReason.__members__:
                raise ValueError(f"table {name}: {row.reason!r} is no failure reason")
            if row.retry_safe and row.reason not in ("RAIL", "TIMEOUT"):
                raise ValueError(f"table {name}: {row.reason} is never safe to retry")
    windows = file.windows
    positive = [
        windows.created_ms,
        windows.authorised_ms,
        windows.submit_ms,
        windows.overdue_attention_ms,
        windows.approval_request_ms,
        windows.approval_ms,
        windows.freeze_ms_max,
        windows.hold_repeat_ms_max,
        windows.never_held_margin_ms,
        file.limits.amount_cents_max,
        *windows.enquiry_waits_ms,
        *windows.funds_repeat_waits_ms,
    ]
    if min(positive) <= 0 or windows.overdue_escalation_ms <= windows.overdue_attention_ms:
        raise ValueError("a window or limit is not above zero, or escalation is before attention")
    if not 1 <= file.limits.attempts_max <= 999:
        raise ValueError(
            "attempts_max has at most three digits: the external reference contains them"
        )
