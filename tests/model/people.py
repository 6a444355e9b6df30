"""Moves of persons and of Resolve: what they ask, decide and do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.payment import commands as c
from tests.model.vocabulary import FOR_EVER, by, head

if TYPE_CHECKING:
    from tests.model.world import World

Inputs = Iterator[tuple[Any, str | None]]  # each with an origin, or the usual one


def pick(items: list[Any], index: int) -> Any:
    """The item at `index`, from the end when negative; None when there is none."""
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
            head(), by(args["who"]), args["action"], "please", attempt=number, **fields
        ),
        None,
    )


def _approval(world: World, args: dict[str, Any]) -> str:
    asked = pick(world.requests, args["which"])
    return "apr_999" if asked is None else str(asked.approval_id)


def resolve(world: World, args: dict[str, Any]) -> Inputs:
    message = c.ApprovalDecision(
        head(), _approval(world, args), args["verdict"], args.get("who", "policy"), ("rule 1",), "7"
    )
    yield from world.post(message, args["how"])


def person(world: World, args: dict[str, Any]) -> Inputs:
    yield (
        c.DecideApproval(head(), by(args["who"]), _approval(world, args), args["verdict"], "seen"),
        None,
    )


def act(world: World, args: dict[str, Any]) -> Inputs:
    """An operator's action. The approval is named only when the move says so."""
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
            yield c.RetryPayment(head(), operator, f"att_{wanted:03d}", "again"), None
        case "CANCEL":
            yield c.CancelPayment(head(), operator, "customer asked", args.get("customer")), None
        case "MARK_FAILED":
            yield c.MarkPaymentFailed(head(), operator, args["failure_reason"], "error 503"), None
        case "EXPIRE":
            yield c.ExpirePayment(head(), operator, "too late"), "operator"
        case "RESOLVE_RECONCILIATION":
            _judge_verdict(world, number, args["verdict"])
            yield (
                c.ResolveReconciliation(
                    head(), operator, f"cnf_{args['conflict']:03d}", number, args["verdict"],
                    "bank confirmed", args.get("amount"),
                ),
                None,
            )  # fmt: skip
        case "RELEASE_EARLY":
            yield c.ReleaseFunds(head(), operator, number, "customer waits"), None
        case "REVERSE":
            yield c.ReverseCapture(head(), operator, number, "posted twice"), None
        case "DEBIT_AGAIN":
            yield c.DebitFunds(head(), operator, number, "paid twice"), None
        case "REPEAT":
            operation = args["operation"]
            yield c.RepeatFundsRequest(head(), operator, number, operation, "again"), None
        case other:
            raise ValueError(f"no action {other}")


def _judge_verdict(world: World, number: int, verdict: str) -> None:
    """A person who says NOT_PAID of what the rail may still settle is to blame, not core."""
    world.misjudged = True
    mine = world.rail.submissions.get(number)
    if verdict == "NOT_PAID" and mine is not None and mine.may_settle(world.now):
        world.truth.excused.add(number)
