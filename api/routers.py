"""Every router of the API, in the order in which their routes are matched: what is asked for most
comes first.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from api.actions import routes as actions
from api.approvals import routes as approvals
from api.audit import routes as audit
from api.control import actions as control_actions
from api.control import routes as control
from api.evidence import routes as evidence
from api.incidents import routes as incidents
from api.payments import create, outcomes, search
from api.payments import routes as payments
from api.quarantine import redrives, resume
from api.quarantine import routes as quarantine
from api.queues import routes as queues
from api.session import routes as session
from api.stream import routes as stream
from api.summary import routes as summary

ROUTERS: Final[tuple[APIRouter, ...]] = (
    payments.router,
    session.router,
    actions.router,
    approvals.router,
    audit.router,
    control.router,
    control_actions.router,
    create.router,
    evidence.router,
    incidents.router,
    outcomes.router,
    quarantine.router,
    queues.router,
    redrives.router,
    search.router,
    stream.router,
    summary.router,
    resume.router,
)
