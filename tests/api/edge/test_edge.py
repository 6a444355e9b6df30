"""For every response: headers, limits, problem format, bodies, unchanged texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.app import ApiSettings, create_app
from api.edge import bodies
from api.edge.limits import BUCKETS_COUNT_MAX, Buckets, LimitSettings, Rate
from api.edge.middleware import BODY_BYTES_MAX
from api.edge.problems import Problem
from readmodel.ports import ReadModelDown
from tests.api.harness import ApiHarness, mixed_harness
from tests.clock import HeldClock

pytestmark = pytest.mark.slow

HOSTILE_TEXTS = (
    *("'; drop table payments; --", "<script>", "=cmd|' /C calc'!A0", "\u202eabc", "🧡"),
    *("a\r\nb: c", "../../etc", "%s{0}$(x)"),
)
SLOW = Rate(per_s=0.001, burst=3.0)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHarness]:
    made, _ = mixed_harness(tmp_path_factory.mktemp("api"))
    yield made
    made.close()


def limited(harness: ApiHarness, **settings: Any) -> Any:
    from fastapi.testclient import TestClient

    app = create_app(harness.services, harness.tokens, ApiSettings(**settings))
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "status"), [("/api/session", 200), ("/api/nothing", 404), ("/api/payments/x", 404)]
)
def test_every_answer_carries_the_security_headers(
    harness: ApiHarness, path: str, status: int
) -> None:
    answer = harness.get(path)
    assert answer.status_code == status
    found = answer.headers
    assert found["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    assert found["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in found
    assert "strict-transport-security" not in found
    assert "strict-transport-security" in limited(harness, https=True).get("/livez").headers


def test_a_valid_request_id_is_kept(harness: ApiHarness) -> None:
    assert (
        harness.get("/api/session", headers={"X-Request-Id": "r-1"}).headers["x-request-id"]
        == "r-1"
    )
    made = harness.get("/api/nothing", headers={"X-Request-Id": "a\tb <script>"})
    assert made.headers["x-request-id"] == made.json()["requestId"]
    assert len(made.json()["requestId"]) == 16


def test_a_foreign_host_name_is_not_served(harness: ApiHarness) -> None:
    http = limited(harness, hosts=frozenset({"api.test"}))
    assert http.get("/livez", headers={"Host": "api.test:8080"}).status_code == 200
    assert http.get("/livez", headers={"Host": "evil.test"}).status_code == 421


def test_problem_details_follow_rfc_9457(harness: ApiHarness) -> None:
    """ERR-01: code, rule and a sentence, and the rule's advice."""
    answer = harness.get("/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy")
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"], body["rule"]) == (404, *["PAYMENT_NOT_FOUND"] * 2)
    assert body["type"] == "urn:npp:rule:PAYMENT_NOT_FOUND"
    assert body["detail"] == body["sentence"] == "There is no payment with this id."
    assert body["advice"]
    assert body["title"]


@pytest.mark.parametrize(
    ("path", "status", "rule"),
    [
        ("/api/payments?sate=FAILED", 400, "FIELD_INVALID"),
        ("/api/payments?state=FAILED&state=SENT", 400, "FIELD_INVALID"),
        ("/api/payments?state=failed", 400, "FIELD_INVALID"),
        ("/api/payments?limit=0", 400, "FIELD_INVALID"),
        ("/api/payments?limit=201", 400, "FIELD_INVALID"),
        ("/api/payments?limit=1e2", 400, "FIELD_INVALID"),
        ("/api/payments?limit=1_0", 400, "FIELD_INVALID"),
        ("/api/payments?limit=%2B1", 400, "FIELD_INVALID"),
        ("/api/payments?limit=%201", 400, "FIELD_INVALID"),
        ("/api/payments?limit=1.", 400, "FIELD_INVALID"),
        ("/api/payments?limit=1.5", 400, "FIELD_INVALID"),
        ("/api/payments?limit=%D9%A3", 400, "FIELD_INVALID"),
        ("/api/quarantine/0/1_0", 400, "FIELD_INVALID"),
        ("/api/payments?from=yesterday", 400, "FIELD_INVALID"),
        ("/api/payments?from=2026-01-01T00:00:00", 400, "FIELD_INVALID"),
        ("/api/payments?to=99999999999999999999", 400, "FIELD_INVALID"),
        ("/api/payments?source=%00", 400, "FIELD_INVALID"),
        ("/api/payments?cursor=%27%3B%20drop%20table%20payments", 400, "FIELD_INVALID"),
        ("/api/quarantine/0/-1", 400, "FIELD_INVALID"),
        ("/api/quarantine/0/9223372036854775808", 400, "FIELD_INVALID"),
        ("/api/outcomes/%3Cscript%3E", 400, "FIELD_INVALID"),
        ("/api/search", 400, "FIELD_MISSING"),
        ("/api/payments/pi_' or 1=1 --", 404, "PAYMENT_NOT_FOUND"),
        ("/api/payments/PI_PDKZ22UB6UJNPRX6NAS575VBXY", 404, "PAYMENT_NOT_FOUND"),
        ("/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy/events/", 404, "NO_SUCH_RESOURCE"),
        ("/api/payments/a%00b", 400, "FIELD_INVALID"),
        ("/api/../etc/passwd%0a", 400, "FIELD_INVALID"),
        ("/api/" + "a" * 600, 400, "FIELD_INVALID"),
    ],
)
def test_an_invalid_request_is_refused_by_name(
    harness: ApiHarness, path: str, status: int, rule: str
) -> None:
    answer = harness.http.get(path, headers={"Authorization": f"Bearer {harness.token('viewer')}"})
    assert (answer.status_code, answer.json()["rule"]) == (status, rule)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"attemptId":"att_002"}', "reason"),
        (b'{"attemptId":"att_002","reason":"x","force":true}', "force"),
        (b'{"attemptId":"att_002","reason":7}', "reason"),
        (b'{"attemptId":"att_2","reason":"x"}', "attemptId"),
        (b'{"attemptId":"att_002","reason":"x","reason":"y"}', "reason"),
        (b'{"attemptId":"att_002","reason":"a\\u0000b"}', "reason"),
        (b'{"attemptId":"att_002","reason":"\\ud800"}', "reason"),
        (b'{"attemptId":"att_002","reason":""}', "reason"),
        (b'{"attemptId":"att_002","reason":"' + b"a" * 1_001 + b'"}', "reason"),
        (b'{"attemptId":"att_002","reason":NaN}', "body"),
        (b'{"attemptId":"att_002","reason":1e999}', "body"),
        (b'{"attemptId":"att_002","reason":' + b"[" * 20 + b"]" * 20 + b"}", "body"),
        (b"[" * 30_000, "body"),
        (b'{"a":' + b"9" * 5_000 + b"}", "body"),
        (b"\xff\xfe{}", "body"),
        ('{"attemptId":"att_002","reason":"x"}'.encode("utf-16"), "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"", "body"),
        (b"not json", "body"),
    ],
)
def test_a_body_that_does_not_match_its_schema_is_refused_naming_the_field(
    harness: ApiHarness, content: bytes, field: str
) -> None:
    """API-13: nothing is published; publishing would answer 503 here."""
    answer = harness.post(
        "/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy/retry", "operator", content=content
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert answer.json()["field"] == field
    assert "att_002" not in answer.text


def test_sign_in_and_role_are_checked_before_the_body(harness: ApiHarness) -> None:
    path = "/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy/retry"
    assert harness.http.post(path, content=b"not json").status_code == 401
    assert harness.post(path, "viewer", content=b"not json").status_code == 403


def test_a_body_of_another_type_or_size_is_refused(harness: ApiHarness) -> None:
    path = "/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy/retry"
    good = b'{"attemptId":"att_002","reason":"x"}'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert harness.post(path, "operator", content=good, headers=form).status_code == 400
    large = harness.post(path, "operator", content=b" " * (BODY_BYTES_MAX + 1))
    assert (large.status_code, large.json()["rule"]) == (413, "BODY_TOO_LARGE")

    def trickle() -> Iterator[bytes]:
        for _ in range(BODY_BYTES_MAX // 1_000 + 2):
            yield b" " * 1_000

    headers = {"Authorization": f"Bearer {harness.token('operator')}"}
    unsized = harness.http.post(path, content=trickle(), headers=headers)
    assert unsized.status_code == 413
    assert harness.post(path, "operator", content=good).status_code == 503  # a valid one gets this


def test_a_client_over_its_rate_limit_is_told_when_to_retry(harness: ApiHarness) -> None:
    http = limited(harness, limits=LimitSettings(principal=SLOW))
    mine = {"Authorization": f"Bearer {harness.token('viewer', subject='eager')}"}
    other = {"Authorization": f"Bearer {harness.token('viewer', subject='until_no_enquiries')}"}
    assert [http.get("/api/session", headers=mine).status_code for _ in range(4)] == [200] * 3 + [
        429
    ]
    refused = http.get("/api/session", headers=mine)
    assert refused.json()["rule"] == "TOO_MANY_REQUESTS"
    assert int(refused.headers["retry-after"]) > 100
    assert http.get("/api/session", headers=other).status_code == 200


def test_guessed_tokens_are_limited_without_affecting_signed_in_users(harness: ApiHarness) -> None:
    """SEC-08."""
    http = limited(harness, limits=LimitSettings(refused=SLOW))
    known = {"Authorization": f"Bearer {harness.token('viewer')}"}
    assert http.get("/api/session", headers=known).status_code == 200
    wrong = {"Authorization": "Bearer a.b.c"}
    found = [http.get("/api/session", headers=wrong).status_code for _ in range(4)]
    assert found == [401] * 3 + [429]
    assert http.get("/api/session", headers=known).status_code == 200


def test_rate_limits_refill_and_their_number_is_bounded() -> None:
    clock = HeldClock(1_000_000)
    buckets = Buckets(Rate(per_s=2.0, burst=2.0), clock)
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.5]
    clock.advance(500)
    assert buckets.take("a") == 0.0
    for number in range(BUCKETS_COUNT_MAX + 10):
        buckets.take(str(number))
    assert len(buckets._levels) == BUCKETS_COUNT_MAX


def test_an_unavailable_read_model_is_a_503_with_a_retry_time(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise ReadModelDown("the read model's database does not answer: secret host")

    monkeypatch.setattr(harness.services.reader, "payment", down)
    answer = harness.get("/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy")
    assert (answer.status_code, answer.json()["rule"]) == (503, "READ_MODEL_DOWN")
    assert answer.headers["retry-after"] == "5"
    assert "secret" not in answer.text


def test_a_defect_is_a_500_without_details(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("account 12345678")

    monkeypatch.setattr(harness.services.reader, "payment", broken)
    answer = harness.get("/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy")
    assert (answer.status_code, answer.json()["rule"]) == (500, "DEFECT")
    assert "12345678" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_free_text_in_a_body_is_kept_unchanged(text: str) -> None:
    assert bodies.read_json(json.dumps({"reason": text}).encode()) == {"reason": text}


def test_deep_nesting_is_refused_at_its_limit() -> None:
    deep = b"[" * bodies.DEPTH_COUNT_MAX + b"]" * bodies.DEPTH_COUNT_MAX
    assert bodies.read_json(deep)
    with pytest.raises(Problem):
        bodies.read_json(b"[[" + deep + b"]]")


def test_metrics_are_counted_by_route_and_never_by_id(harness: ApiHarness) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    http = limited(harness, registry=registry)
    token = {"Authorization": f"Bearer {harness.token('viewer')}"}
    http.get("/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy", headers=token)
    http.request("BREW", "/api/payments/pi_pdkz22ub6ujnprx6nas575vbxy", headers=token)
    text = generate_latest(registry).decode()
    assert 'route="/api/payments/{payment_intent_id}",status="404"' in text
    assert 'method="other"' in text
    assert "pdkz22" not in text
