"""What the simulated Deposits Core has moved: once per reference, by the contract of
docs/deposits-gateway.md. Knows no HTTP and reads no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from core.words import OperationName
from gateways import ports
from gateways.simulator import Journal

HOLD_TOO_LATE: Final = "HOLD_TOO_LATE"
HOLD_RELEASED: Final = "HOLD_RELEASED"
HOLD_EXPIRED: Final = "HOLD_EXPIRED"
NO_SUCH_HOLD: Final = "NO_SUCH_HOLD"
REFERENCE_REUSED: Final = "REFERENCE_REUSED"
ENDED_MARK: Final = "ended:"  # in the journal: a hold whose RELEASE came


class FundsCall(msgspec.Struct, frozen=True):
    """One request. Amount in cents, `not_after` in epoch ms."""

    funds_ref: str
    operation: OperationName
    payment_intent_id: str
    amount: int
    currency: str
    hold_ref: str | None = None
    hold_funds_ref: str | None = None
    not_after: int | None = None


class FundsEntry(msgspec.Struct):
    """One reference and its final result. `amount` (cents) is what was moved, or what was
    requested if nothing moved.
    """

    request: FundsCall
    done: bool
    code: str | None
    hold_ref: str | None
    ledger_ref: str
    amount: int
    at: int
    expires_at: int | None = None  # of a HOLD: it expires then
    deliveries: int = 0

    def fits(self, requested: FundsCall) -> bool:
        """The same reference for the same operation and amount."""
        known = self.request
        return (known.operation, known.amount) == (requested.operation, requested.amount)


class Hold(msgspec.Struct):
    """A hold, in cents. amount = captured + released + expired + left, none negative."""

    amount: int
    captured: int = 0
    released: int = 0
    reversed: int = 0  # of what was captured
    expired: int = 0  # expired at Deposits Core
    expires_at: int | None = None

    def left(self) -> int:
        return self.amount - self.captured - self.released - self.expired


class DepositsLedger:
    """Entries by reference, holds by name, and the references of holds that were ended."""

    def __init__(self, journal: Journal) -> None:
        self.entries: dict[str, FundsEntry] = {}
        self.holds: dict[str, Hold] = {}
        self.ended: dict[str, int] = {}
        self._journal = journal
        for name, raw in journal.load().items():
            if name.startswith(ENDED_MARK):
                self.ended[name.removeprefix(ENDED_MARK)] = raw
            else:
                self.entries[name] = msgspec.convert(raw, FundsEntry)
        for entry in sorted(self.entries.values(), key=lambda each: each.at):
            if entry.done:
                self._move(entry)

    def expire(self, now: int) -> None:
        """Expire the rest of each hold whose time has passed."""
        for hold in self.holds.values():
            if hold.expires_at is not None and hold.expires_at <= now:
                hold.expired += hold.left()
                hold.expires_at = None

    def perform(
        self, requested: FundsCall, now: int, *, refusal: str | None, expires_at: int | None
    ) -> FundsEntry | None:
        """The one decision about this reference, also when it is repeated; None: not known yet.

        `refusal` is the code that a script demands. An entry with REFERENCE_REUSED is not kept.
        """
        self.expire(now)
        known = self.entries.get(requested.funds_ref)
        if known is not None:
            if not known.fits(requested):
                return _made(requested, now, REFERENCE_REUSED)
            return self._delivered(known)
        code = refusal or self._obstacle(requested, now)
        if code == ports.PENDING:
            return None
        return self._delivered(self._enter(requested, now, code, expires_at))

    def hold_against_the_contract(self, requested: FundsCall, now: int) -> FundsEntry:
        """Carry a HOLD out although it came too late or was ended: what must never happen."""
        known = self.entries.get(requested.funds_ref)
        done = known is not None and known.done
        return self._delivered(known if known and done else self._enter(requested, now, None, None))

    def _delivered(self, entry: FundsEntry) -> FundsEntry:
        """Count it and write the entry down, so that a restarted simulator still knows it."""
        entry.deliveries += 1
        self._journal.append(entry.request.funds_ref, msgspec.to_builtins(entry))
        return entry

    def _enter(
        self, requested: FundsCall, now: int, code: str | None, expires_at: int | None
    ) -> FundsEntry:
        entry = _made(requested, now, code)
        if requested.operation == "HOLD":
            entry.hold_ref = f"HLD{_number(requested.funds_ref)}"
            entry.expires_at = expires_at
        else:
            entry.hold_ref = self._hold_of(requested)
        if entry.done:
            self._move(entry)
        self.entries[requested.funds_ref] = entry
        return entry

    def _hold_of(self, requested: FundsCall) -> str | None:
        """The hold that the request names, else the payment's last one."""
        if requested.hold_ref is not None:
            return requested.hold_ref
        if requested.hold_funds_ref is not None:
            named = self.entries.get(requested.hold_funds_ref)
            return named.hold_ref if named is not None and named.done else None
        for entry in reversed(self.entries.values()):
            known = entry.request
            if (
                known.operation == "HOLD"
                and entry.done
                and known.payment_intent_id == requested.payment_intent_id
            ):
                return entry.hold_ref
        return None

    def _obstacle(self, requested: FundsCall, now: int) -> str | None:
        match requested.operation:
            case "HOLD":
                if requested.funds_ref in self.ended:
                    return HOLD_RELEASED
                too_late = requested.not_after is not None and now > requested.not_after
                return HOLD_TOO_LATE if too_late else None
            case "RELEASE" if requested.hold_ref is None and requested.hold_funds_ref is not None:
                return self._end_hold(requested, requested.hold_funds_ref, now)
            case "CAPTURE" | "RELEASE":
                return self._why_not_from(self._hold_of(requested), requested.amount)
            case "REVERSE":
                hold = self.holds.get(self._hold_of(requested) or "")
                captured = 0 if hold is None else hold.captured - hold.reversed
                return "NOTHING_CAPTURED" if requested.amount > captured else None
            case "DEBIT_FORCED" | "CREDIT":
                return None
            case _:
                assert_never(requested.operation)

    def _end_hold(self, requested: FundsCall, name: str, now: int) -> str | None:
        """From here on the HOLD is never carried out. All that is left of it is released."""
        if name not in self.ended:
            self.ended[name] = now
            self._journal.append(ENDED_MARK + name, now)
        hold_ref = self._hold_of(requested)
        if hold_ref is not None:
            return self._why_not_from(hold_ref, 1)
        final_at = (
            0 if requested.not_after is None else requested.not_after + ports.NEVER_HELD_MARGIN_MS
        )
        return ports.NEVER_HELD if now >= final_at else ports.PENDING

    def _why_not_from(self, hold_ref: str | None, amount: int) -> str | None:
        hold = self.holds.get(hold_ref or "")
        if hold is None:
            return NO_SUCH_HOLD
        if amount <= hold.left():
            return None
        if hold.expired:
            return HOLD_EXPIRED
        return HOLD_RELEASED if hold.released == hold.amount else "HOLD_TOO_SMALL"

    def _move(self, entry: FundsEntry) -> None:
        requested = entry.request
        if requested.operation == "HOLD" and entry.hold_ref is not None:
            self.holds[entry.hold_ref] = Hold(amount=entry.amount, expires_at=entry.expires_at)
        hold = self.holds.get(entry.hold_ref or "")
        if hold is None:
            return
        match requested.operation:
            case "CAPTURE":
                hold.captured += entry.amount
            case "RELEASE":
                if requested.hold_ref is None and requested.hold_funds_ref is not None:
                    entry.amount = hold.left()
                hold.released += entry.amount
            case "REVERSE":
                hold.reversed += entry.amount
            case "HOLD" | "DEBIT_FORCED" | "CREDIT":
                return
            case _:
                assert_never(requested.operation)

    def as_json(self) -> dict[str, Any]:
        return {
            "entries": [described(entry) for entry in self.entries.values()],
            "holds": {
                ref: {**msgspec.structs.asdict(hold), "left": hold.left()}
                for ref, hold in self.holds.items()
            },
            "ended": self.ended,
        }


def described(entry: FundsEntry) -> dict[str, Any]:
    """An entry in the form of Deposits Core's answer."""
    requested = entry.request
    return {
        "fundsRef": requested.funds_ref,
        "operation": requested.operation,
        "paymentIntentId": requested.payment_intent_id,
        "amount": entry.amount,
        "currency": requested.currency,
        "done": entry.done,
        "code": entry.code,
        "holdRef": entry.hold_ref,
        "ledgerRef": entry.ledger_ref,
        "verifiedAt": entry.at,
        "deliveries": entry.deliveries,
    }


def status_of(entry: FundsEntry) -> int:
    """The HTTP status of an answer, by the contract's table."""
    if entry.done:
        return 201 if entry.deliveries == 1 else 200
    return STATUS_OF_CODE.get(entry.code or "", 422)


STATUS_OF_CODE: Final[Mapping[str, int]] = {
    ports.NEVER_HELD: 404,
    NO_SUCH_HOLD: 404,
    HOLD_EXPIRED: 410,
    HOLD_RELEASED: 410,
    HOLD_TOO_LATE: 409,
    REFERENCE_REUSED: 409,
}


def _made(requested: FundsCall, now: int, code: str | None) -> FundsEntry:
    return FundsEntry(
        request=requested,
        done=code is None,
        code=code,
        hold_ref=None,
        ledger_ref=f"LED{_number(requested.funds_ref)}",
        amount=requested.amount,
        at=now,
    )


def _number(reference: str) -> str:
    return hashlib.sha256(reference.encode()).hexdigest()[:16].upper()
