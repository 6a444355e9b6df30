"""The meaning of Deposits Core's answers: the table of docs/deposits-gateway.md as data.

A refusal is certain; anything unclear is not, and the request is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, assert_never, get_args

import msgspec

from core.payment.instructions import DepositsRequest
from core.payment.limits import OUTSIDE_ID_CHARACTERS_MAX
from core.payment.operator.checks import text_problem
from core.values import Cents
from gateways import ports
from gateways.http_call import DETAILS_CHARACTERS_MAX, WHOLE_MAX, HttpAnswer
from gateways.ports import FundsAnswer, FundsOutcome

# The columns of TABLE. END_HOLD is a RELEASE that names the HOLD by its fundsRef.
HOLD: Final = "HOLD"
CAPTURE: Final = "CAPTURE"
RELEASE: Final = "RELEASE"
END_HOLD: Final = "END_HOLD"
OTHER: Final = "OTHER"  # DEBIT_FORCED, REVERSE, CREDIT: they need no hold
Question = Literal["HOLD", "CAPTURE", "RELEASE", "END_HOLD", "OTHER"]
QUESTIONS: Final[tuple[Question, ...]] = get_args(Question)

ANY: Final = "any"  # any code, but there must be one
NONE: Final = "none"  # no code is required

_DONE: Final = (ports.DONE,)
_DECLINED: Final = (ports.DECLINED,)
_REFUSED: Final = (ports.REFUSED,)
_GONE: Final = (ports.REFUSED, ports.HOLD_GONE)
_NEVER: Final = (ports.NEVER_HELD,)
_PENDING: Final = (ports.PENDING,)
_UNREADABLE: Final = (ports.UNREADABLE,)

Cell = tuple[FundsOutcome] | tuple[FundsOutcome, str]
"""The outcome and, if it is not Deposits Core's own code, the code reported to the payment."""


class Row(msgspec.Struct, frozen=True):
    """The first row that has the answer's status and code decides; `cells` are in the order of
    QUESTIONS.
    """

    statuses: tuple[int, ...]
    code: str
    cells: tuple[Cell, Cell, Cell, Cell, Cell]


_REFUSALS: Final = (404, 409, 410, 422)
# fmt: off
TABLE: Final[tuple[Row, ...]] = (
    #                                       HOLD       CAPTURE    RELEASE    END_HOLD   OTHER
    Row((200, 201), NONE,                  (_DONE,     _DONE,     _DONE,     _DONE,     _DONE)),
    Row((202,), NONE,                      (_PENDING,  _PENDING,  _PENDING,  _PENDING,  _PENDING)),
    Row(_REFUSALS, "REFERENCE_REUSED",     (_UNREADABLE,) * 5),
    Row(_REFUSALS, "HOLD_TOO_LATE",        (_REFUSED,  _REFUSED,  _REFUSED,  _REFUSED,  _REFUSED)),
    Row(_REFUSALS, "NEVER_HELD",           (_REFUSED,  _GONE,     _GONE,     _NEVER,    _REFUSED)),
    Row(_REFUSALS, "NO_SUCH_HOLD",         (_REFUSED,  _GONE,     _GONE,     _PENDING,  _REFUSED)),
    Row(_REFUSALS, "HOLD_EXPIRED",         (_REFUSED,  _GONE,     _GONE,     _GONE,     _REFUSED)),
    Row(_REFUSALS, "HOLD_RELEASED",        (_REFUSED,  _GONE,     _GONE,     _GONE,     _REFUSED)),
    Row((402, 422), ANY,                   (_DECLINED, _REFUSED,  _REFUSED,  _REFUSED,  _REFUSED)),
    Row((400, 404, 409, 410), ANY,         (_REFUSED,  _REFUSED,  _REFUSED,  _REFUSED,  _REFUSED)),
)
# fmt: on


class _UnreadableError(ValueError):
    """The answer is not what the contract allows; the sentence says why."""


def question_of(request: DepositsRequest) -> Question:
    """The table's column for a request."""
    match request.operation:
        case "HOLD":
            return HOLD
        case "CAPTURE":
            return CAPTURE
        case "RELEASE":
            named = request.hold_ref is None and request.hold_funds_ref is not None
            return END_HOLD if named else RELEASE
        case "DEBIT_FORCED" | "REVERSE" | "CREDIT":
            return OTHER
        case _:
            assert_never(request.operation)


def meaning(question: Question, status: int, code: str | None) -> Cell:
    """The cell. SILENT for a status without a row, UNREADABLE for a refusal without a code."""
    column = QUESTIONS.index(question)
    without_code = False
    for row in TABLE:
        if status not in row.statuses:
            continue
        if row.code == NONE or (code is not None and row.code in (code, ANY)):
            return row.cells[column]
        without_code = True
    return _UNREADABLE if without_code else (ports.SILENT,)


def read(request: DepositsRequest, answer: HttpAnswer) -> FundsAnswer:
    """The answer to a request. Never raises: an unclear one is SILENT or UNREADABLE."""
    try:
        return _read(request, answer)
    except _UnreadableError as error:
        return _answered(answer, ports.UNREADABLE, details=str(error))


def _read(request: DepositsRequest, answer: HttpAnswer) -> FundsAnswer:
    body = answer.body
    if answer.status == 0 or answer.status >= 500:
        return _answered(answer, ports.SILENT)
    if body is None or body.get("fundsRef") is None:
        if answer.status >= 400:  # a proxy's error page is no answer of Deposits Core
            return _answered(answer, ports.SILENT)
        raise _UnreadableError("the answer names no fundsRef")
    _check_echo(body, "fundsRef", request.funds_ref)
    _check_echo(body, "operation", request.operation)
    _check_echo(body, "currency", request.currency)
    code = _text(body, "code")
    details = _details(body)
    cell = meaning(question_of(request), answer.status, code)
    match cell[0]:
        case ports.DONE:
            return _done(request, answer, body)
        case ports.DECLINED | ports.REFUSED:
            if len(cell) == 1:
                return _answered(answer, cell[0], code=code, details=details)
            raw = code if details is None else f"{code}: {details}"
            text = None if raw is None else raw[:DETAILS_CHARACTERS_MAX]
            return _answered(answer, cell[0], code=cell[1], details=text)
        case ports.UNREADABLE:
            raise _UnreadableError(f"HTTP {answer.status} with code {code} is not certain")
        case ports.NEVER_HELD | ports.PENDING | ports.SILENT:
            return _answered(answer, cell[0], details=details)
        case _:
            assert_never(cell[0])


def _done(request: DepositsRequest, answer: HttpAnswer, body: Mapping[str, Any]) -> FundsAnswer:
    if request.hold_ref is not None:
        _check_echo(body, "holdRef", request.hold_ref)
    hold_ref = _text(body, "holdRef")
    if hold_ref is None and question_of(request) in (HOLD, END_HOLD):
        raise _UnreadableError("holdRef is missing: a hold without a name cannot be captured")
    amount = _whole(body, "amount")
    return _answered(
        answer,
        ports.DONE,
        hold_ref=hold_ref,
        ledger_ref=_text(body, "ledgerRef"),
        amount=None if amount is None else Cents(amount),
        verified_at=_whole(body, "verifiedAt"),
        details=_details(body),
    )


def _answered(answer: HttpAnswer, outcome: FundsOutcome, **fields: Any) -> FundsAnswer:
    return FundsAnswer(
        outcome=outcome,
        requested_at=answer.requested_at,
        answered_at=answer.answered_at,
        technical_result=answer.technical_result,
        **fields,
    )


def _check_echo(body: Mapping[str, Any], name: str, requested: str) -> None:
    """An echoed field must equal the request's, or this is an answer to something else."""
    if body.get(name) is not None and body[name] != requested:
        raise _UnreadableError(f"{name} is not the one that was asked")


def _text(body: Mapping[str, Any], name: str) -> str | None:
    """An id or code. A shortened one would be another one, so one that is too long is refused."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or value.isspace():
        raise _UnreadableError(f"{name} is no text")
    problem = text_problem(value, OUTSIDE_ID_CHARACTERS_MAX)
    if problem is not None:
        raise _UnreadableError(f"{name} {problem}")
    return value


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    """Cents or epoch ms. An unreadable value must not count as the requested one."""
    value = body.get(name)
    if value is None or (type(value) is int and 0 < value <= WHOLE_MAX):
        return value
    raise _UnreadableError(f"{name} is no positive whole number")


def _details(body: Mapping[str, Any]) -> str | None:
    """Free text for people: not an id, so it may be cut."""
    value = body.get("details")
    if not isinstance(value, str):
        return None
    return value.replace("\0", "")[:DETAILS_CHARACTERS_MAX] or None
