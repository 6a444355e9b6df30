"""Resolve under scripts of the simulator: the rules' answer, or a script's answer in its place.

Not for production: `app` refuses it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

import structlog

from core.declared import replaced
from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from core.values import Parties
from engine.clock import Clock
from gateways.connections import Gateway
from gateways.http_call import call
from gateways.ports import ResolveAnswer, ResolvePolicy
from gateways.resolve.policy import InBoxResolve

log = structlog.get_logger("gateways.resolve.scripted")

CHECK: Final = "CHECK"  # a policy check, in place of an action's name
RULES: Final = "RULES"  # the answer that the rules give
SCRIPT_RULE: Final = "script"


class ScriptedResolve:
    """`Resolve` that asks the simulator how to answer each question."""

    def __init__(self, *, policy: ResolvePolicy, gateway: Gateway, clock: Clock) -> None:
        self._rules = InBoxResolve(policy)
        self._gateway = gateway
        self._clock = clock
        self.version = policy.version

    def ask(
        self,
        question: PolicyCheckRequest | ApprovalRequest,
        parties: Parties | None,
        *,
        now_ms: int,
    ) -> tuple[ResolveAnswer, ...] | None:
        """None while the simulator cannot be reached: Resolve is down."""
        honest = self._rules.ask(question, parties, now_ms=now_ms)[0].decision
        body = {
            "paymentIntentId": question.header.payment_intent_id,
            "action": CHECK if isinstance(question, PolicyCheckRequest) else question.action,
        }
        answer = call(self._gateway, self._clock, "POST", "/questions", body)
        says = answer.body.get("says") if answer.body is not None else None
        if answer.status != 200 or not isinstance(says, list):
            log.warning("resolve simulator does not answer", result=answer.technical_result)
            return None
        return tuple(_answer(honest, step) for step in says)


def _answer(honest: PolicyVerdict | ApprovalDecision, step: Mapping[str, Any]) -> ResolveAnswer:
    after_ms = int(step["afterMillis"])
    verdict = str(step["verdict"])
    if verdict == RULES:
        return ResolveAnswer(decision=honest, after_ms=after_ms)
    match honest:
        case PolicyVerdict():
            reason = step.get("failureReason") if verdict == "DECLINED" else None
            scripted: PolicyVerdict | ApprovalDecision = replaced(
                honest, verdict=verdict, rules_evaluated=(SCRIPT_RULE,), failure_reason=reason
            )
        case ApprovalDecision():
            scripted = replaced(
                honest,
                verdict=verdict,
                rules_evaluated=(SCRIPT_RULE,),
                reason=step.get("reason"),
            )
        case _:
            assert_never(honest)
    return ResolveAnswer(decision=scripted, after_ms=after_ms)
