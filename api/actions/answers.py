"""Turns the answer to a command into HTTP: 200 decided, 202 not yet known, else a problem."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.actions.commands import NO_LIMIT
from api.actions.views import DoneView, LateView
from api.edge import problems
from api.edge.params import gives, json_answer
from api.edge.problems import Problem
from api.edge.views import iso, iso_or_none
from api.payments import views_events
from api.services import Answer, Principal, Services
from control import quarantine
from core import refusals
from core.records import Outcome
from core.refusals import refuse
from core.values import same_person
from engine.tracing import HEADER, is_traceparent
from readmodel.ports import ReadModelDown

PENDING: Final = "PENDING"
EVENTS_COUNT_MAX: Final = 50  # of one answer; an action makes far fewer
TAKEN: Final = gives(DoneView, also={202: LateView})


def traceparent(request: Request) -> str | None:
    """The caller's traceparent header, if it is valid."""
    given = request.headers.get(HEADER)
    return given if is_traceparent(given) else None


def check_operator(
    request: Request,
    services: Services,
    principal: Principal,
    named: str | None,
    *,
    payment_intent_id: str,
    reason: str,
) -> None:
    """A body may name only the person who is signed in (OP-16). Notes and raises Problem (403)."""
    if named is None or same_person(named, principal.id):
        return
    refusal = refuse(refusals.OPERATOR_MISMATCH)
    services.audit.note(
        principal,
        request.scope["route"].name.upper(),
        method=request.method,
        path=request.scope["path"],
        status=problems.STATUS[refusal.code],
        payment_intent_id=payment_intent_id,
        reason=reason,
        code=refusal.code,
        rule=refusal.rule,
        sentence=refusal.sentence,
    )
    raise problems.refused(refusal, audited=True)


def respond(
    services: Services, payment_intent_id: str, answer: Answer, *, personal: bool
) -> Response:
    """The HTTP answer; `personal` says whether the caller may see names and accounts. Raises
    Problem for a refused or quarantined command.
    """
    place = outcome_link(answer, payment_intent_id)
    if answer.outcome is not None:
        done = _done(services, answer, answer.outcome, place, personal)
        return json_answer(done)
    if answer.quarantined is not None:
        raise _set_aside(answer, payment_intent_id, place)
    late = LateView(
        command_id=answer.command_id,
        payment_intent_id=payment_intent_id,
        result=PENDING,
        not_after=iso_or_none(answer.not_after),
        outcome=place,
    )
    response = json_answer(late, 202)
    response.headers["Location"] = place
    return response


def outcome_link(answer: Answer, payment_intent_id: str) -> str:
    """Where the outcome can be read again. An accepted creation is found by its payment."""
    place = f"/api/outcomes/{answer.command_id}"
    if answer.not_after == NO_LIMIT:
        place += f"?paymentIntentId={payment_intent_id}"
    return place


def _done(
    services: Services, answer: Answer, outcome: Outcome, place: str, personal: bool
) -> DoneView:
    if outcome.code is not None:
        raise _refused(answer, outcome, place)
    made = outcome.result in ("ACCEPTED", "DUPLICATE")
    rows = _events(services, outcome) if made and answer.projected else []
    ruled = services.evidence.rulings(outcome.payment_intent_id) if rows else ()
    return DoneView.of(
        outcome,
        duplicate=outcome.result == "DUPLICATE",
        command_id=answer.command_id,
        decided_at=iso(outcome.decided_at),
        approval_id=next((row.approval_id for row in rows if row.approval_id), None),
        projected=answer.projected,
        events=[
            views_events.event(row, services.codec, personal=personal, ruled=ruled) for row in rows
        ],
        outcome=place,
    )


def _events(services: Services, outcome: Outcome) -> list[Any]:
    count = min(outcome.to_sequence - outcome.from_sequence + 1, EVENTS_COUNT_MAX)
    try:
        return list(
            services.reader.events(outcome.payment_intent_id, outcome.from_sequence - 1, count)
        )
    except ReadModelDown:
        return []  # the outcome is known anyway


def _refused(answer: Answer, outcome: Outcome, place: str) -> Problem:
    code = outcome.code or ""
    found: dict[str, Any] = {
        "firstDifference": outcome.first_difference,
        "expected": outcome.expected,
        "actual": outcome.actual,
        "state": outcome.state,
        "moneyOutcome": outcome.money_outcome,
    }
    return Problem(
        problems.STATUS[code],
        code,
        outcome.rule or code,
        outcome.sentence or "The command was refused.",
        audited=True,
        commandId=answer.command_id,
        paymentIntentId=outcome.payment_intent_id,
        result=outcome.result,
        outcome=place,
        **{name: value for name, value in found.items() if value is not None},
    )


def _set_aside(answer: Answer, payment_intent_id: str, place: str) -> Problem:
    """The command is in quarantine: it was not decided."""
    named: dict[str, Any] = {
        "commandId": answer.command_id,
        "paymentIntentId": payment_intent_id,
        "result": "QUARANTINED",
        "quarantine": answer.quarantined,
        "outcome": place,
    }
    if answer.quarantined == quarantine.PARKED:
        return problems.refused(refuse(refusals.PAYMENT_PARKED), audited=True, **named)
    if answer.quarantined == quarantine.UNMATCHED:  # only ResumeProcessing can be
        problem = "the processor does not know the request yet"
        refusal = refuse(refusals.UNPARK_NOT_POSSIBLE, problem=problem)
        return problems.refused(refusal, audited=True, **named)
    sentence = "The command could not be read and is in quarantine: nothing was done."
    return Problem(500, "INTERNAL", "COMMAND_SET_ASIDE", sentence, audited=True, **named)
