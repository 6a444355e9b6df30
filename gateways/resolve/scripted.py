"""Resolve as the simulator scripts it: the rules' answer, or what a script says in its place.

Not for production: `app` refuses it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from core.payment.commands import ApprovalDecision, PolicyVerdict
from core.payment.instructions import ApprovalRequest, PolicyCheckRequest
from core.values import Parties
from engine.clock import Clock
from gateways.connections import Gateway
from gateways.http_call import call
from gateways.ports import ResolvePolicy, Said
from gateways.resolve.policy import InBoxResolve

log = structlog.get_logger("gateways.resolve.scripted")

CHECK: Final = "CHECK"  # in the place of an action: a policy check
RULES: Final = "RULES"  # what the rules say
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
    ) -> tuple[Said, ...] | None:
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
        return tuple(_said(honest, step) for step in says)


def _said(honest: PolicyVerdict | ApprovalDecision, step: Mapping[str, Any]) -> Said:
    after_ms = int(step["afterMillis"])
    verdict = str(step["verdict"])
    if verdict == RULES:
        return Said(honest, after_ms)
    match honest:
        case PolicyVerdict():
            reason = step.get("failureReason") if verdict == "DECLINED" else None
            scripted: PolicyVerdict | ApprovalDecision = msgspec.structs.replace(
                honest, verdict=verdict, rules_evaluated=(SCRIPT_RULE,), failure_reason=reason
            )
        case ApprovalDecision():
            scripted = msgspec.structs.replace(
                honest,
                verdict=verdict,
                rules_evaluated=(SCRIPT_RULE,),
                reason=step.get("reason"),
            )
    return Said(scripted, after_ms)
