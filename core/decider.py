"""What a decision needs besides the input and the state, and its possible results. No clock, no
random ids, no logging.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from core.header import Cause
from core.values import Parties, Sealed
from core.words import Origin, RefusalCode

if TYPE_CHECKING:
    from core.payment.events import Event
    from core.payment.instructions import Instruction
    from core.payment.state import Payment
    from core.rules import Rules


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """`now_ms` (epoch ms): when the input was polled; decidedAt = max(now_ms, the payment's last
    decidedAt, a timer's deadline) (domain §8).

    `sources` are those the input's topic may carry (empty: not an upstream topic). `origin` says
    what kind of topic the input came from: upstream, operator, rail, deposits, resolve, notified or
    timer. `open_parties` raises ValueError when the sealed bytes cannot be read.
    `recovered_submissions`: references of instructions to pay whose events were lost with a log
    tail (core.payment.inputs.recovered_submissions).
    """

    now_ms: int
    cause: Cause
    rules: Rules
    origin: Origin
    sources: frozenset[str]
    open_parties: Callable[[Sealed], Parties]
    recovered_submissions: frozenset[str] = frozenset()


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing was appended. `code` is one of the four business codes, `rule` its name,
    `sentence` for people.
    """

    code: RefusalCode
    rule: str
    sentence: str
    first_difference: str | None = None
    expected: str | None = None
    actual: str | None = None


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A repeat: the first result is the events from_sequence..to_sequence of the payment."""

    from_sequence: int
    to_sequence: int


class NoEffect(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to do, and nothing wrong. `rule` says why."""

    rule: str
    sentence: str


class Unmatched(msgspec.Struct, frozen=True):
    """A report whose payment is unknown: to quarantine as UNMATCHED."""

    sentence: str


class Accepted(msgspec.Struct, kw_only=True):
    """`events` in order, headers complete but for previous_hash; `state` after all of them;
    `instructions` for outside systems.
    """

    events: list[Event]
    state: Payment
    instructions: list[Instruction]


Decision = Accepted | Duplicate | Refusal | NoEffect | Unmatched

# core.payment.decide.decide(state: Payment | None, command: Input, context: Context) -> Decision
# core.payment.evolve.evolve(state: Payment | None, event: Event) -> Payment
# evolve raises CorruptHistory.
