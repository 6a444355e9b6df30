"""Who may call what: one table of (method, path) to roles. A route without a row does not start.

The engine checks the role again, because every command carries the operator's roles.
"""

from __future__ import annotations

from typing import Final

from control.acts.roles import (
    ADMIN,
    APPROVER,
    AUDITOR,
    OPERATOR,
    ROLES,
    SENIOR,
    SUBMITTER,
    VIEWER,
)

READ: Final = frozenset({VIEWER, OPERATOR, SENIOR, APPROVER, AUDITOR, ADMIN})
OPERATE: Final = frozenset({OPERATOR, SENIOR})
SENIORS: Final = frozenset({SENIOR})
ADMINS: Final = frozenset({ADMIN})
APPROVERS: Final = frozenset({APPROVER})
EXPORT: Final = frozenset({OPERATOR, SENIOR, AUDITOR})
PERSONAL: Final = frozenset({OPERATOR, SENIOR, AUDITOR})  # see names and accounts unmasked
READ_OWN: Final = READ | {SUBMITTER}

_PAYMENT: Final = "/api/payments/{payment_intent_id}"
_QUARANTINE: Final = "/api/quarantine"
_STOP: Final = "/api/control/stops/{stop_id}/resume-requests"

ACCESS: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("POST", "/api/payments"): frozenset({SUBMITTER}),
    ("GET", "/api/payments"): READ,
    ("GET", _PAYMENT): READ_OWN,
    ("GET", f"{_PAYMENT}/events"): READ_OWN,
    ("GET", f"{_PAYMENT}/outcomes"): READ,
    ("GET", f"{_PAYMENT}/event-store"): READ,
    ("POST", f"{_PAYMENT}/retry"): OPERATE,
    ("POST", f"{_PAYMENT}/cancel"): OPERATE,
    ("POST", f"{_PAYMENT}/mark-failed"): SENIORS,
    ("POST", f"{_PAYMENT}/expire"): SENIORS,
    ("POST", f"{_PAYMENT}/release"): SENIORS,
    ("POST", f"{_PAYMENT}/reverse"): SENIORS,
    ("POST", f"{_PAYMENT}/debit"): SENIORS,
    ("POST", f"{_PAYMENT}/funds/repeat"): SENIORS,
    ("POST", f"{_PAYMENT}/conflicts/{{conflict_id}}/resolve"): SENIORS,
    ("POST", f"{_PAYMENT}/resume-requests"): ADMINS,
    ("POST", f"{_PAYMENT}/resume-requests/{{offset}}/confirm"): ADMINS,
    ("POST", f"{_PAYMENT}/resume-processing"): ADMINS,
    ("POST", f"{_PAYMENT}/approvals"): OPERATE,
    ("POST", f"{_PAYMENT}/approvals/{{approval_id}}/approve"): APPROVERS,
    ("POST", f"{_PAYMENT}/approvals/{{approval_id}}/reject"): APPROVERS,
    ("GET", "/api/approvals"): READ,
    ("GET", "/api/conflicts"): READ,
    ("GET", "/api/attention"): READ,
    ("GET", _QUARANTINE): READ,
    ("GET", f"{_QUARANTINE}/{{partition}}/{{offset}}"): READ,
    ("POST", f"{_QUARANTINE}/redrives/preview"): ADMINS,
    ("POST", f"{_QUARANTINE}/redrives"): ADMINS,
    ("GET", f"{_QUARANTINE}/redrives"): READ,
    ("POST", f"{_QUARANTINE}/redrives/{{request_id}}/confirm"): ADMINS,
    ("GET", "/api/control"): READ,
    ("POST", "/api/control/stop"): ADMINS,
    ("POST", _STOP): ADMINS,
    ("POST", f"{_STOP}/{{offset}}/confirm"): ADMINS,
    ("GET", "/api/outcomes/{command_id}"): READ_OWN,
    ("GET", "/api/search"): READ,
    ("GET", "/api/audit"): frozenset({AUDITOR, ADMIN, SENIOR}),
    ("GET", "/api/summary"): READ,
    ("GET", "/api/stream"): READ,
    ("POST", f"{_PAYMENT}/evidence-pack"): EXPORT,
    ("GET", f"{_PAYMENT}/evidence-pack/download"): EXPORT | {VIEWER, APPROVER},
    ("POST", f"{_PAYMENT}/evidence-pack/verify"): EXPORT | {ADMIN},
    ("POST", "/api/evidence-packs"): EXPORT,
    ("GET", "/api/incidents"): READ,
    ("GET", "/api/incidents/summary"): READ,
    ("GET", "/api/keys"): READ,
    ("GET", "/api/session"): ROLES,
}
