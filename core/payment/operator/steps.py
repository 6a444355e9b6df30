"""The steps of a person's command, in their order (domain §5):

    shape → role → known → done → time → state → approval

The order is defined only here; each command supplies its own rules. Checks after the approval (the
invariants) are in the command itself, before its first event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from core.decider import Context, Decision, Refusal
from core.header import Actor, InputHeader, OperatorHeader
from core.payment.commands import OperatorCommand
from core.payment.draft import Draft, decided_at, draft_of, duplicate_of
from core.payment.operator import checks, gate
from core.payment.state import Approval, Payment
from core.refusals import NOT_FOUND, refuse
from core.values import ApprovalId
from core.words import Role

C = TypeVar("C", bound=OperatorCommand)


def nothing_done(state: Payment, command: object, now: int) -> int | None:
    """No earlier result counts: the command is judged again each time."""
    return None


def no_approval(
    state: Payment, command: object, operator: OperatorHeader, now: int
) -> Approval | Refusal | None:
    """The command needs no approval."""
    return None


@final
class Steps(Generic[C]):
    """The rules of one command.

    `shape(command, characters_max)`: the problem with the command itself; `characters_max` limits
    free text. `roles`: any of them suffices. `done(state, command, now)`: the first sequence of the
    command's earlier result. `state(state, command, now)`: why the payment does not allow it now.
    `approval(state, command, operator, now)`: the required approval, or None.
    """

    __slots__ = ("approval", "done", "roles", "shape", "state")

    def __init__(
        self,
        *,
        shape: Callable[[C, int], Refusal | None],
        roles: frozenset[Role],
        state: Callable[[Payment, C, int], Refusal | None],
        done: Callable[[Payment, C, int], int | None] = nothing_done,
        approval: Callable[
            [Payment, C, OperatorHeader, int], Approval | Refusal | None
        ] = no_approval,
    ) -> None:
        self.shape = shape
        self.roles = roles
        self.done = done
        self.state = state
        self.approval = approval


@final
class Passed:
    """A command that passed all its steps. `now` is decidedAt (epoch ms); `approval` is None if
    none is required.
    """

    __slots__ = ("_context", "_header", "_operator", "approval", "now", "state")

    def __init__(
        self,
        *,
        state: Payment,
        approval: Approval | None,
        operator: OperatorHeader,
        header: InputHeader,
        context: Context,
        now: int,
    ) -> None:
        self.state = state
        self.approval = approval
        self.now = now
        self._operator = operator
        self._header = header
        self._context = context

    @property
    def approval_id(self) -> ApprovalId | None:
        return None if self.approval is None else self.approval.id

    def draft(self) -> Draft:
        """The draft of the decision, still without events."""
        actor = Actor(kind="operator", id=self._operator.operator_id)
        return draft_of(self.state, self._context, actor, self._header, self.now)


def pass_steps(
    steps: Steps[C],
    state: Payment | None,
    command: C,
    context: Context,
    operator: OperatorHeader | None = None,
) -> Passed | Decision:
    """The command past all its steps, or the result of the first step that refuses it. `operator`
    is passed if the command's own is optional.
    """
    operator = operator or command.operator
    assert operator is not None
    refusal = steps.shape(command, context.rules.limits.free_text_characters_max)
    refusal = refusal or checks.operator(operator) or gate.role_missing(operator, steps.roles)
    if refusal is not None:
        return refusal
    if state is None:
        return refuse(NOT_FOUND)
    now = decided_at(state, context.now_ms)
    done = steps.done(state, command, now)
    if done is not None:
        return duplicate_of(state, done)
    refusal = gate.too_late(operator, now) or steps.state(state, command, now)
    if refusal is not None:
        return refusal
    approval = steps.approval(state, command, operator, now)
    if isinstance(approval, Refusal):
        return approval
    return Passed(
        state=state,
        approval=approval,
        operator=operator,
        header=command.header,
        context=context,
        now=now,
    )
