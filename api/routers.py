"""Every router of the API, in matching order: the most frequent routes come first; and every module
that declares views, for the OpenAPI document.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from fastapi import APIRouter

from api.actions import routes as actions
from api.actions import views as actions_views
from api.approvals import routes as approvals
from api.audit import routes as audit
from api.control import actions as control_actions
from api.control import routes as control
from api.edge import views as edge_views
from api.evidence import routes as evidence
from api.evidence import views as evidence_views
from api.incidents import routes as incidents
from api.incidents import views as incidents_views
from api.payments import create, outcomes, search, views_events, views_outcomes
from api.payments import routes as payments
from api.payments import views as payments_views
from api.quarantine import redrives, resume
from api.quarantine import routes as quarantine
from api.queues import routes as queues
from api.queues import views as queues_views
from api.session import routes as session
from api.stream import routes as stream
from api.stream import streams
from api.summary import figures
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

VIEW_MODULES: Final[tuple[ModuleType, ...]] = (
    edge_views,
    payments,
    payments_views,
    views_events,
    views_outcomes,
    actions_views,
    control,
    evidence_views,
    incidents_views,
    queues_views,
    streams,
    figures,
)
