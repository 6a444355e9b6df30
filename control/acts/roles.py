"""The roles that a person may have: the runbook's escalation levels (domain §4), and `submitter`
for systems that create payments through the API.
"""

from __future__ import annotations

from typing import Final

VIEWER: Final = "viewer"
OPERATOR: Final = "operator"
SENIOR: Final = "senior_operator"
APPROVER: Final = "approver"
AUDITOR: Final = "auditor"
ADMIN: Final = "admin"
SUBMITTER: Final = "submitter"

ROLES: Final = frozenset({VIEWER, OPERATOR, SENIOR, APPROVER, AUDITOR, ADMIN, SUBMITTER})
