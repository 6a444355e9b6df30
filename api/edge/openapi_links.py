"""Links of the OpenAPI document: what an answer's values are good for in the next call.

A link says where a value goes, not that the next call is allowed: roles and states say that.
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

# Every gated action on a payment; its answer is one view for all of them.
ACTIONS: Final = (
    *("retry", "cancel", "markFailed", "expire", "releaseEarly", "reverse", "debit", "repeatFunds"),
    *("resolveReconciliation", "resumeProcessing", "requestApproval", "approve", "reject"),
)
_READS: Final = ("payment", "paymentEvents", "paymentOutcomes", "paymentEventStore")
_PACKS: Final = ("makeEvidencePack", "downloadEvidencePack", "verifyEvidencePack")
_BY_ID: Final = (
    *("retry", "cancel", "markFailed", "expire", "releaseEarly", "reverse", "debit", "repeatFunds"),
    "requestApproval",
)

Parameters = Mapping[str, str]
Link = tuple[str, str, str, Parameters]  # operation, status, operation that follows, parameters


def _to(source: str, status: str, targets: tuple[str, ...], given: Parameters) -> list[Link]:
    return [(source, status, target, given) for target in targets]


def _links() -> list[Link]:
    found = _to("createPayment", "200", (*_READS, *_PACKS, "cancel", "requestApproval"), _OF_BODY)
    found += _to("payment", "200", (*_READS[1:], *_PACKS, *_BY_ID), _OF_PATH)
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
    found += _to("approve", "200", _BY_ID[:-1], _OF_BODY)
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
    """Put every link under its answer; `operations` by operationId. Raises KeyError for a link of
    or to an operation, or of an answer, that the document does not have."""
    for source, status, target, given in LINKS:
        operations[target]
        links = operations[source]["responses"][status].setdefault("links", {})
        links[target] = {"operationId": target, "parameters": dict(given)}
