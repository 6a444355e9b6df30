"""Links of the OpenAPI document: which parameters of a next call take a response's values.

A link does not say that the next call is allowed: that depends on roles and states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "payment_intent_id"
_OF_BODY: Final = {_ID: "$response.body#/paymentIntentId"}
_OF_PATH: Final = {_ID: f"$request.path.{_ID}"}
_OF_FIRST: Final = {_ID: "$response.body#/items/0/paymentIntentId"}
_APPROVAL: Final = {"approval_id": "$response.body#/approvalId"}
_FIRST_APPROVAL: Final = {"approval_id": "$response.body#/items/0/approvalId"}
_FIRST_CONFLICT: Final = {"conflict_id": "$response.body#/items/0/conflictId"}

_BY_ID: Final = (  # actions that need no other id than the payment's
    *("retry", "cancel", "markFailed", "expire", "releaseEarly", "reverse", "debit", "repeatFunds"),
)
# Every operator command on a payment; all have the same response body.
ACTIONS: Final = (
    *_BY_ID,
    *("resolveReconciliation", "resumeProcessing", "requestApproval", "approve", "reject"),
)
_READS: Final = ("payment", "paymentEvents", "paymentOutcomes", "paymentEventStore")
_PACKS: Final = ("makeEvidencePack", "downloadEvidencePack", "verifyEvidencePack")

Parameters = Mapping[str, str]
Link = tuple[str, str, str, Parameters]  # operation, status, operation that follows, parameters


def _to(source: str, status: str, targets: tuple[str, ...], given: Parameters) -> list[Link]:
    return [(source, status, target, given) for target in targets]


def _links() -> list[Link]:
    found = _to("createPayment", "200", (*_READS, *_PACKS, "cancel", "requestApproval"), _OF_BODY)
    found += _to("payment", "200", (*_READS[1:], *_PACKS, *_BY_ID, "requestApproval"), _OF_PATH)
    for listed in ("payments", "attention", "approvals", "conflicts"):
        found += _to(listed, "200", ("payment", "paymentEvents"), _OF_FIRST)
    became = {"command_id": "$response.body#/commandId", "paymentIntentId": _OF_BODY[_ID]}
    for action in ("createPayment", *ACTIONS):
        for status in ("200", "202"):
            found += _to(action, status, ("outcome",), became)
    for action in ACTIONS:
        found += _to(action, "200", _READS[:3], _OF_BODY)
    decide = ("approve", "reject")
    found += _to("requestApproval", "200", decide, {**_OF_BODY, **_APPROVAL})
    found += _to("approvals", "200", decide, {**_OF_FIRST, **_FIRST_APPROVAL})
    found += _to("approve", "200", _BY_ID, _OF_BODY)
    found += _to("conflicts", "200", ("resolveReconciliation",), {**_OF_FIRST, **_FIRST_CONFLICT})
    found += _to("outcome", "200", ("payment",), _OF_BODY)
    named = {**_OF_BODY, "asOf": "$response.body#/asOf"}
    found += _to("makeEvidencePack", "200", ("downloadEvidencePack",), named)
    found += _to("makeEvidencePack", "200", ("verifyEvidencePack",), _OF_BODY)
    found += _to("stop", "200", ("requestResume",), {"stop_id": "$response.body#/stopId"})
    confirm = {"stop_id": "$request.path.stop_id", "offset": "$response.body#/offset"}
    found += _to("requestResume", "200", ("confirmResume",), confirm)
    first = {name: f"$response.body#/items/0/{name}" for name in ("partition", "offset")}
    found += _to("quarantine", "200", ("quarantined",), first)
    found += _to(
        *("requestRedrive", "200", ("confirmRedrive",)),
        {"request_id": "$response.body#/requestId"},
    )
    return found


LINKS: Final = tuple(_links())


def add(operations: Mapping[str, dict[str, Any]]) -> None:
    """Add every link to its response; `operations` by operationId. Raises KeyError when the
    document lacks an operation or response that a link names."""
    for source, status, target, given in LINKS:
        operations[target]
        links = operations[source]["responses"][status].setdefault("links", {})
        links[target] = {"operationId": target, "parameters": dict(given)}
