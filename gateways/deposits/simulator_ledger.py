"""What the simulated Deposits Core has moved: once per reference, by the contract of
docs/deposits-gateway.md. Pure of HTTP; time is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateways import ports
from gateways.simulator import Journal

HOLD_TOO_LATE: Final = "HOLD_TOO_LATE"
HOLD_RELEASED: Final = "HOLD_RELEASED"
HOLD_EXPIRED: Final = "HOLD_EXPIRED"
NO_SUCH_HOLD: Final = "NO_SUCH_HOLD"
REFERENCE_REUSED: Final = "REFERENCE_REUSED"
ENDED_MARK: Final = "ended:"  # in the journal: a hold whose RELEASE came


class Asked(msgspec.Struct, frozen=True):
    """One request. Amount in cents, `not_after` in epoch ms."""

    funds_ref: str
    operation: str
    payment_intent_id: str
    amount: int
    currency: str
    hold_ref: str | None = None
    hold_funds_ref: str | None = None
    not_after: int | None = None


class FundsEntry(msgspec.Struct):
    """One reference and what became of it, once and for all. `amount` is what was moved, or was
    asked where nothing was; cents.
    """

    request: Asked
    done: bool
    code: str | None
    hold_ref: str | None
    ledger_ref: str
    amount: int
    at: int
    expires_at: int | None = None  # of a HOLD: given back by itself from then on
    deliveries: int = 0

    def fits(self, asked: Asked) -> bool:
        """The same reference for the same operation and amount."""
        known = self.request
        return (known.operation, known.amount) == (asked.operation, asked.amount)


class Hold(msgspec.Struct):
    """What is left of a hold. amount = captured + released + expired + left, none negative."""

    amount: int
    captured: int = 0
    released: int = 0
    reversed: int = 0  # of what was captured
    expired: int = 0  # given back by Deposits Core itself
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
        """Release by itself what is left of each hold whose time has passed."""
        for hold in self.holds.values():
            if hold.expires_at is not None and hold.expires_at <= now:
                hold.expired += hold.left()
                hold.expires_at = None

    def perform(
        self, asked: Asked, now: int, *, refusal: str | None, expires_at: int | None
    ) -> FundsEntry | None:
        """The one decision about this reference, or the first one again; None: not known yet.

        `refusal` is the code a script wants. REFERENCE_REUSED is in an entry that is not kept.
        """
        self.expire(now)
        known = self.entries.get(asked.funds_ref)
        if known is not None:
            if not known.fits(asked):
                return _made(asked, now, REFERENCE_REUSED)
            return self._delivered(known)
        code = refusal or self._obstacle(asked, now)
        if code == ports.PENDING:
            return None
        return self._delivered(self._enter(asked, now, code, expires_at))

    def hold_against_the_contract(self, asked: Asked, now: int) -> FundsEntry:
        """Carry a HOLD out although it came too late or was ended: what must never happen."""
        known = self.entries.get(asked.funds_ref)
        done = known is not None and known.done
        return self._delivered(known if known and done else self._enter(asked, now, None, None))

    def _delivered(self, entry: FundsEntry) -> FundsEntry:
        """Count it and write the entry down, so that a restarted simulator still knows it."""
        entry.deliveries += 1
        self._journal.append(entry.request.funds_ref, msgspec.to_builtins(entry))
        return entry

    def _enter(
        self, asked: Asked, now: int, code: str | None, expires_at: int | None
    ) -> FundsEntry:
        entry = _made(asked, now, code)
        if asked.operation == "HOLD":
            entry.hold_ref = f"HLD{_number(asked.funds_ref)}"
            entry.expires_at = expires_at
        else:
            entry.hold_ref = self._hold_of(asked)
        if entry.done:
            self._move(entry)
        self.entries[asked.funds_ref] = entry
        return entry

    def _hold_of(self, asked: Asked) -> str | None:
        """The hold that the request names, else the payment's last one."""
        if asked.hold_ref is not None:
            return asked.hold_ref
        if asked.hold_funds_ref is not None:
            named = self.entries.get(asked.hold_funds_ref)
            return named.hold_ref if named is not None and named.done else None
        for entry in reversed(self.entries.values()):
            known = entry.request
            if (
                known.operation == "HOLD"
                and entry.done
                and known.payment_intent_id == asked.payment_intent_id
            ):
                return entry.hold_ref
        return None

    def _obstacle(self, asked: Asked, now: int) -> str | None:
        match asked.operation:
            case "HOLD":
                if asked.funds_ref in self.ended:
                    return HOLD_RELEASED
                too_late = asked.not_after is not None and now > asked.not_after
                return HOLD_TOO_LATE if too_late else None
            case "RELEASE" if asked.hold_ref is None and asked.hold_funds_ref is not None:
                return self._end_hold(asked, asked.hold_funds_ref, now)
            case "CAPTURE" | "RELEASE":
                return self._why_not_from(self._hold_of(asked), asked.amount)
            case "REVERSE":
                hold = self.holds.get(self._hold_of(asked) or "")
                captured = 0 if hold is None else hold.captured - hold.reversed
                return "NOTHING_CAPTURED" if asked.amount > captured else None
            case _:
                return None

    def _end_hold(self, asked: Asked, name: str, now: int) -> str | None:
        """From here on the HOLD is never carried out. All that is left of it is released."""
        if name not in self.ended:
            self.ended[name] = now
            self._journal.append(ENDED_MARK + name, now)
        hold_ref = self._hold_of(asked)
        if hold_ref is not None:
            return self._why_not_from(hold_ref, 1)
        final_at = 0 if asked.not_after is None else asked.not_after + ports.NEVER_HELD_MARGIN_MS
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
        asked = entry.request
        if asked.operation == "HOLD" and entry.hold_ref is not None:
            self.holds[entry.hold_ref] = Hold(amount=entry.amount, expires_at=entry.expires_at)
        hold = self.holds.get(entry.hold_ref or "")
        if hold is None:
            return
        match asked.operation:
            case "CAPTURE":
                hold.captured += entry.amount
            case "RELEASE":
                if asked.hold_ref is None and asked.hold_funds_ref is not None:
                    entry.amount = hold.left()
                hold.released += entry.amount
            case "REVERSE":
                hold.reversed += entry.amount

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
    """An entry as Deposits Core answers."""
    asked = entry.request
    return {
        "fundsRef": asked.funds_ref,
        "operation": asked.operation,
        "paymentIntentId": asked.payment_intent_id,
        "amount": entry.amount,
        "currency": asked.currency,
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


def _made(asked: Asked, now: int, code: str | None) -> FundsEntry:
    return FundsEntry(
        request=asked,
        done=code is None,
        code=code,
        hold_ref=None,
        ledger_ref=f"LED{_number(asked.funds_ref)}",
        amount=asked.amount,
        at=now,
    )


def _number(reference: str) -> str:
    return hashlib.sha256(reference.encode()).hexdigest()[:16].upper()
