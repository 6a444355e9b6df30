"""Moves of operators and of Resolve: their requests, decisions and actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.payment import commands as c
from core.values import ApprovalId, ConflictId
from tests.model.vocabulary import FOR_EVER, by, head

if TYPE_CHECKING:
    from tests.model.outside.world import World

Inputs = Iterator[tuple[Any, str | None]]  # each with an origin, or the usual one


def pick(items: list[Any], index: int) -> Any:
    """The item at `index`, from the end if negative; None if there is none."""
    if not items:
        return None
    return items[index % len(items)] if index >= 0 else items[-((-index - 1) % len(items)) - 1]


def ask(world: World, args: dict[str, Any]) -> Inputs:
    fields: dict[str, Any] = {
        k: args[k] for k in ("failure_reason", "verdict", "amount") if k in args
    }
    if "conflict" in args:
        fields["conflict_id"] = f"cnf_{args['conflict']:03d}"
    attempt = args.get("attempt")
    number = None if attempt is None else world.attempt(attempt)
    yield (
        c.RequestApproval(
            header=head(),
            operator=by(args["who"]),
            action=args["action"],
            reason="please",
            attempt=number,
            **fields,
        ),
        None,
    )


def _approval(world: World, args: dict[str, Any]) -> str:
    requested = pick(world.requests, args["which"])
    return "apr_999" if requested is None else str(requested.approval_id)


def resolve(world: World, args: dict[str, Any]) -> Inputs:
    message = c.ApprovalDecision(
        header=head(),
        approval_id=ApprovalId(_approval(world, args)),
        verdict=args["verdict"],
        decided_by=args.get("who", "policy"),
        rules_evaluated=("rule 1",),
        policy_version="7",
    )
    yield from world.post(message, args["how"])


def person(world: World, args: dict[str, Any]) -> Inputs:
    yield (
        c.DecideApproval(
            header=head(),
            operator=by(args["who"]),
            approval_id=ApprovalId(_approval(world, args)),
            verdict=args["verdict"],
            reason="seen",
        ),
        None,
    )


def act(world: World, args: dict[str, Any]) -> Inputs:
    """An operator's action. The approval is named only if the move says so."""
    late = args.get("late")
    approval = _approval(world, {"which": args["named"]}) if "named" in args else None
    operator = by(
        args["who"],
        not_after=FOR_EVER if late is None else world.now - late,
        approval=approval,
    )
    number = world.attempt(args.get("attempt", 0))
    match args["action"]:
        case "RETRY":
            wanted = args.get("number") or world.attempts + 1
            yield (
                c.RetryPayment(
                    header=head(), operator=operator, attempt_id=f"att_{wanted:03d}", reason="again"
                ),
                None,
            )
        case "CANCEL":
            yield (
                c.CancelPayment(
                    header=head(),
                    operator=operator,
                    reason="customer asked",
                    customer_id=args.get("customer"),
                ),
                None,
            )
        case "MARK_FAILED":
            yield (
                c.MarkPaymentFailed(
                    header=head(),
                    operator=operator,
                    reason=args["failure_reason"],
                    details="error 503",
                ),
                None,
            )
        case "EXPIRE":
            yield c.ExpirePayment(header=head(), operator=operator, reason="too late"), "operator"
        case "RESOLVE_RECONCILIATION":
            _judge_verdict(world, number, args["verdict"])
            yield (
                c.ResolveReconciliation(
                    header=head(),
                    operator=operator,
                    conflict_id=ConflictId(f"cnf_{args['conflict']:03d}"),
                    attempt=number,
                    verdict=args["verdict"],
                    details="bank confirmed",
                    amount=args.get("amount"),
                ),
                None,
            )
        case "RELEASE_EARLY":
            yield (
                c.ReleaseFunds(
                    header=head(), operator=operator, attempt=number, reason="customer waits"
                ),
                None,
            )
        case "REVERSE":
            yield (
                c.ReverseCapture(
                    header=head(), operator=operator, attempt=number, reason="posted twice"
                ),
                None,
            )
        case "DEBIT_AGAIN":
            yield (
                c.DebitFunds(header=head(), operator=operator, attempt=number, reason="paid twice"),
                None,
            )
        case "REPEAT":
            operation = args["operation"]
            yield (
                c.RepeatFundsRequest(
                    header=head(),
                    operator=operator,
                    attempt=number,
                    operation=operation,
                    reason="again",
                ),
                None,
            )
        case other:
            raise ValueError(f"no action {other}")


def _judge_verdict(world: World, number: int, verdict: str) -> None:
    """If a person says NOT_PAID about an attempt that may still settle, that person is at fault,
    not core.
    """
    world.misjudged = True
    mine = world.rail.submissions.get(number)
    if verdict == "NOT_PAID" and mine is not None and mine.may_settle(world.now):
        world.truth.excused.add(number)
