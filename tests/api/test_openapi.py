"""The OpenAPI document is valid and true: schemathesis sends what it describes, signed
in and not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from openapi_spec_validator import validate
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.app import ApiSettings
from api.auth.access import ACCESS
from api.edge.limits import LimitSettings, Rate
from control.acts.roles import ROLES
from tests.api.harness import ApiHarness, mixed_harness

pytestmark = pytest.mark.slow

EXAMPLES_COUNT = 4  # per operation; generating one case takes about 20 ms
WIDE = Rate(per_s=1e6, burst=1e6)
QUICK = hypothesis.settings(
    max_examples=EXAMPLES_COUNT,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
# What no schema can express: a cursor must have been issued before, and a month has so many days.
SAID_BY_THE_SERVER = ("cursor", "from", "to", "asOf", "Last-Event-ID")
SIGNED_ACT = "#/components/schemas/SignedAct"  # nor which fields an act has, and who signed it
EDGE_CODES = ("VALIDATION_FAILED", "NOT_FOUND", "METHOD_NOT_ALLOWED")


@pytest.fixture(scope="module", autouse=True)
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiHarness]:
    settings = ApiSettings(limits=LimitSettings(WIDE, WIDE, WIDE))
    made, _ = mixed_harness(tmp_path_factory.mktemp("api"), settings=settings)
    made.app.state.streams.close()  # or its response never ends
    yield made
    made.close()


@pytest.fixture(scope="module")
def api_schema(harness: ApiHarness) -> Any:
    return openapi.from_asgi("/openapi.json", harness.app)


def each_case(schema: Any, method: str, path: str, check: Callable[[Any], None]) -> None:
    """Cases of one operation, valid and invalid, from the document alone."""
    both = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    for mode in both:
        strategy = schema[path][method].as_strategy(generation_mode=mode)
        QUICK(hypothesis.given(case=strategy)(lambda case: check(case)))()  # noqa: PLW0108 of its own name


def takes(operation: dict[str, Any], schema: str) -> bool:
    """Whether the operation's body has that schema."""
    content = operation.get("requestBody", {}).get("content", {})
    return any(each["schema"].get("$ref") == schema for each in content.values())


def test_the_document_is_valid_openapi_3_1(harness: ApiHarness) -> None:
    document = harness.http.get("/openapi.json").json()
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_operation_documents_its_roles_purpose_and_refusals(harness: ApiHarness) -> None:
    document = harness.app.openapi()
    names = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["summary"], path
            assert operation["security"] == [{"bearer": []}]
            assert set(operation["x-roles"]) == ACCESS[method.upper(), path]
            for status in ("400", "401", "403", "429", "500", "503"):
                assert "application/problem+json" in operation["responses"][status]["content"]
            assert "422" not in operation["responses"]
            assert any(status.startswith("2") for status in operation["responses"])
    assert len(names) == len(set(names)) == len(ACCESS)
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_signed_in_every_response_matches_the_document(
    harness: ApiHarness, api_schema: Any, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {harness.token(*ROLES)}"}
    document = harness.app.openapi()["paths"][path][method.lower()]
    by_server = {*SAID_BY_THE_SERVER, "body"} if takes(document, SIGNED_ACT) else SAID_BY_THE_SERVER

    def check(case: Any) -> None:
        answer = case.call(headers=headers)
        # Nothing is accepted here: processing is stopped, which is a documented 503 and no defect.
        excluded = [not_a_server_error]
        if answer.status_code == 400 and answer.json().get("field") in by_server:
            excluded.append(positive_data_acceptance)
        case.validate_response(answer, headers=headers, excluded_checks=excluded)
        assert answer.status_code != 500

    each_case(api_schema, method, path, check)


@pytest.mark.parametrize(("method", "path"), sorted(ACCESS))
def test_without_sign_in_every_route_answers_401(
    harness: ApiHarness, api_schema: Any, method: str, path: str
) -> None:
    def check(case: Any) -> None:
        answer = case.call(headers={"Authorization": "Bearer none"})
        assert answer.status_code in (400, 401, 404, 405), answer.text
        assert answer.json()["code"] in ("NOT_SIGNED_IN", *EDGE_CODES)

    each_case(api_schema, method, path, check)
