"""SEC-01, SEC-02: every route in the table of roles, and no route outside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter

from api.app import check, create_app
from api.auth import access
from api.auth.access import ACCESS
from api.auth.guard import GuardedRoute, router
from control.acts.roles import ROLES
from tests.api.harness import CLIENT, OTHER_CLIENT, ApiHarness, mixed_harness

pytestmark = pytest.mark.slow

PLACES = {
    "payment_intent_id": "pi_pdkz22ub6ujnprx6nas575vbxy", "approval_id": "apr_001",
    "conflict_id": "cnf_001", "stop_id": "stp_1", "offset": "1", "partition": "0",
    "request_id": "rdr_1", "command_id": "cmd-1",
}  # fmt: skip
ROWS = sorted(ACCESS)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHarness]:
    made, _ = mixed_harness(tmp_path_factory.mktemp("api"))
    yield made
    made.close()


def filled(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: PLACES[found[1]], path)


def test_the_rows_name_every_role_and_no_other() -> None:
    assert frozenset().union(*ACCESS.values()) == ROLES


def test_every_row_has_a_route_and_every_route_a_row(harness: ApiHarness) -> None:
    routes = {
        (method, route.path_format)
        for route in harness.app.routes
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }
    assert routes == set(ACCESS)


def test_only_the_probes_and_the_document_are_open(harness: ApiHarness) -> None:
    paths = {r.path for r in harness.app.routes if not isinstance(r, GuardedRoute)}  # type: ignore[attr-defined]
    assert paths == {"/openapi.json", "/livez", "/readyz"}


def test_a_route_without_a_row_or_without_the_guard_does_not_start() -> None:
    unguarded, unlisted = APIRouter(), router()

    @unguarded.get("/api/session")
    @unlisted.get("/api/secret")
    async def secret() -> None: ...

    for wrong in (unguarded, unlisted):
        with pytest.raises(LookupError):
            check(wrong.routes[0])


@pytest.mark.parametrize(("method", "path"), ROWS)
def test_without_a_token_every_route_answers_401(
    harness: ApiHarness, method: str, path: str
) -> None:
    for headers in ({}, {"Authorization": "Basic b3BzOng="}, {"Authorization": "Bearer "}):
        answer = harness.http.request(method, filled(path), headers=headers)
        assert (answer.status_code, answer.json()["rule"]) == (401, "TOKEN_MISSING")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), ROWS)
def test_each_role_is_admitted_where_the_table_says_and_nowhere_else(
    harness: ApiHarness, method: str, path: str
) -> None:
    """SEC-02: a wrong role is POLICY_REJECTED naming the required role."""
    for role in sorted(ROLES):
        if path == "/api/stream" and role in ACCESS[method, path]:
            continue  # an endless answer; see test_api_stream
        token = harness.token(role, client=CLIENT)
        harness.notes.kept.clear()
        answer = harness.http.request(
            method, filled(path), headers={"Authorization": f"Bearer {token}"}
        )
        body = answer.json() if "json" in answer.headers["content-type"] else {}
        if role in ACCESS[method, path]:
            assert body.get("rule") != "MISSING_ROLE", role
            assert answer.status_code != 401
            continue
        assert (answer.status_code, body["code"], body["rule"]) == (
            403,
            "POLICY_REJECTED",
            "MISSING_ROLE",
        )
        assert all(needed in body["sentence"] for needed in ACCESS[method, path])
        assert harness.notes.kept[0]["rule"] == "MISSING_ROLE"  # AUD-02


def test_a_token_without_a_known_role_is_refused_everywhere(harness: ApiHarness) -> None:
    token = harness.token("viewer")
    principal = harness.tokens.verify(token)
    assert principal.roles == {"viewer"}
    answer = harness.get("/api/audit", "viewer")
    assert answer.json()["rule"] == "MISSING_ROLE"


def test_a_refused_token_is_answered_and_audited_without_the_token(harness: ApiHarness) -> None:
    harness.notes.kept.clear()
    answer = harness.http.get("/api/session", headers={"Authorization": "Bearer secret.token.x"})
    assert (answer.status_code, answer.json()["rule"]) == (401, "TOKEN_REFUSED")
    assert "invalid_token" in answer.headers["WWW-Authenticate"]
    (note,) = harness.notes.kept
    assert (note["principal"], note["action"], note["status"]) == (None, "SIGN_IN", 401)
    assert "secret" not in str(note)


def test_a_submitter_sees_only_payments_of_its_own_source(harness: ApiHarness) -> None:
    known = harness.get("/api/payments").json()["items"][0]["paymentIntentId"]
    for suffix in ("", "/events"):
        path = f"/api/payments/{known}{suffix}"
        assert harness.get(path, "submitter", client=CLIENT).status_code == 200
        for client in (OTHER_CLIENT, "nobody", None):
            answer = harness.get(path, "submitter", client=client)
            assert (answer.status_code, answer.json()["code"]) == (404, "PAYMENT_NOT_FOUND")


def test_personal_data_is_shown_to_permitted_roles_only(harness: ApiHarness) -> None:
    known = harness.get("/api/payments").json()["items"][0]["paymentIntentId"]
    for role in sorted(ROLES - {"submitter"}):
        texts = [harness.get(f"/api/payments/{known}{s}", role).text for s in ("", "/events")]
        seen = [("87654321" in text, "Ada" in text) for text in texts]
        assert seen == [(role in access.PERSONAL,) * 2] * 2, role


def test_an_action_refused_at_the_edge_is_audited(harness: ApiHarness) -> None:
    """AUD-02: with code and rule, although it never became a command."""
    known = harness.get("/api/payments").json()["items"][0]["paymentIntentId"]
    harness.notes.kept.clear()
    answer = harness.post(f"/api/payments/{known}/retry", "operator", content=b'{"reason":"x"}')
    assert (answer.status_code, answer.json()["field"]) == (400, "attemptId")
    (note,) = harness.notes.kept
    assert (note["action"], note["code"], note["rule"], note["payment_intent_id"]) == (
        "RETRY",
        "VALIDATION_FAILED",
        "FIELD_MISSING",
        known,
    )


def test_the_application_can_be_built_twice(tmp_path: Path) -> None:
    harness = ApiHarness(tmp_path)
    try:
        assert create_app(harness.services, harness.tokens).openapi() == harness.app.openapi()
    finally:
        harness.close()
