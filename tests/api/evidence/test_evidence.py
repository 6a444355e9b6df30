"""Evidence over HTTP: the runbook's three calls, lists, keys; each export is audited first."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pypdf
import pytest

from api.services import PublishUnconfirmed
from evidence import verify_evidence as v
from tests.api.harness import ApiHarness, mixed_harness

pytestmark = pytest.mark.slow

AUDITOR = "auditor"
UNKNOWN = "pi_" + "a" * 26


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiHarness, dict[str, str]]]:
    harness, names = mixed_harness(tmp_path_factory.mktemp("api"))
    yield harness, names
    harness.close()


@pytest.fixture
def api(made: tuple[ApiHarness, dict[str, str]]) -> ApiHarness:
    made[0].notes.kept.clear()
    return made[0]


@pytest.fixture
def payment(made: tuple[ApiHarness, dict[str, str]]) -> str:
    return made[1]["settled"]


def post(api: ApiHarness, path: str, body: Any, *roles: str) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    return api.post(path, *(roles or (AUDITOR,)), content=content)


def follow(api: ApiHarness, link: str) -> Any:
    """The response at the returned download link."""
    path, _, query = link.partition("?")
    return api.get(path, AUDITOR, **dict(parse_qsl(query)))


def place(payment: str, rest: str = "") -> str:
    return f"/api/payments/{payment}/evidence-pack{rest}"


@pytest.mark.parametrize(("form", "ending"), [("JSON", "json"), ("PDF", "pdf")])
def test_generate_download_and_verify_work_as_in_the_runbook(
    api: ApiHarness, payment: str, form: str, ending: str
) -> None:
    """API-10, API-11, API-12, EP-05, EP-06, OP-12: the runbook's three steps."""
    answer = post(api, place(payment), {"format": form, "includeReplayProof": True})
    assert answer.status_code == 200
    body = answer.json()
    file = follow(api, body["download"])
    name = f"evidence_pack_{payment}.{ending}"
    assert file.headers["content-disposition"] == f'attachment; filename="{name}"'
    if form == "JSON":
        assert hashlib.sha256(file.content).hexdigest() == body["hash"]
        assert json.loads(file.content)["asOf"] == body["asOf"]
    else:
        text = pypdf.PdfReader(io.BytesIO(file.content)).pages[0].extract_text()
        assert body["hash"] in text
    checked = post(api, place(payment, "/verify"), None).json()
    assert (checked["verified"], checked["hash"]) == (True, body["hash"])


def test_download_without_parameters_gives_the_current_json(api: ApiHarness, payment: str) -> None:
    """OP-12."""
    file = api.get(place(payment, "/download"), AUDITOR)
    assert file.headers["content-type"] == "application/json"
    answer = v.verify(file.content, v.read_keys(api.get("/api/keys").content))
    assert answer["verified"] is True


def test_the_proof_can_be_omitted(api: ApiHarness, payment: str) -> None:
    """EP-03."""
    body = post(api, place(payment), {"format": "JSON", "includeReplayProof": False}).json()
    pack = follow(api, body["download"]).json()
    assert (pack["includesReplayProof"], "replayProof" in pack) == (False, False)


def test_an_uploaded_pack_is_verified_too(api: ApiHarness, payment: str) -> None:
    """OP-13."""
    content = api.get(place(payment, "/download"), AUDITOR).content
    answer = api.post(place(payment, "/verify"), "admin", content=content).json()
    assert (answer["verified"], answer["verdict"]) == (True, "VERIFIED")
    assert (answer["through"], answer["unsigned"]) == (answer["events"], 0)
    assert answer["hash"] == hashlib.sha256(content).hexdigest()
    altered = content.replace(b'"moneyOutcome":"PAID"', b'"moneyOutcome":"OPEN"')
    answer = api.post(place(payment, "/verify"), "admin", content=altered).json()
    assert answer["verified"] is False
    assert answer["problem"]["place"] == "pack: state.moneyOutcome"


def test_each_export_is_audited_before_it_is_returned(api: ApiHarness, payment: str) -> None:
    """EP-10, AUD-01."""
    body = {"format": "PDF", "includeReplayProof": True, "reason": "dispute", "reference": "R-7"}
    said = post(api, place(payment), body).json()
    follow(api, said["download"])
    api.get(place(payment, "/download"), "viewer")
    assert [note["action"] for note in api.notes.kept] == [
        "EVIDENCE_PACK", "EVIDENCE_DOWNLOAD", "EVIDENCE_VIEW",
    ]  # fmt: skip
    first = api.notes.kept[0]
    detail = json.loads(first["detail"])
    assert (first["principal"], first["payment_intent_id"]) == ("ops_1", payment)
    assert (first["reason"], detail["reference"], detail["format"]) == ("dispute", "R-7", "PDF")
    assert (detail["asOf"], detail["sha256"]) == (said["asOf"], said["hash"])


def test_an_export_that_cannot_be_audited_is_not_returned(
    api: ApiHarness, payment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EP-10."""

    def away(*_: object, **__: object) -> None:
        raise PublishUnconfirmed

    monkeypatch.setattr(api.notes, "note", away)
    answer = api.get(place(payment, "/download"), AUDITOR)
    assert (answer.status_code, payment.encode() in answer.content) == (503, False)


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_roles_without_personal_data_get_a_masked_view(
    api: ApiHarness, payment: str, role: str
) -> None:
    """SEC-02."""
    answer = api.get(place(payment, "/download"), role)
    assert answer.json()["format"] == "npp-evidence-view"
    assert b"12345678" not in answer.content
    assert post(api, place(payment), {"format": "JSON"}, role).status_code == 403
    answer = api.post(place(payment, "/verify"), AUDITOR, content=answer.content)
    assert answer.json()["problem"]["kind"] == "VIEW"


def test_an_impossible_request_says_why(api: ApiHarness, payment: str) -> None:
    assert post(api, place(UNKNOWN), {"format": "JSON"}).status_code == 404
    assert api.get(place(UNKNOWN, "/download"), "viewer").status_code == 404
    assert post(api, place(UNKNOWN, "/verify"), None).status_code == 404
    assert post(api, place(payment), {"format": "XML"}).status_code == 400
    assert post(api, place(payment), {"format": "JSON", "more": 1}).status_code == 400
    answer = api.get(place(payment, "/download"), AUDITOR, asOf="999.0.1")
    assert (answer.status_code, answer.json()["field"]) == (400, "asOf")
    assert api.get(place(payment, "/download"), AUDITOR, asOf="x").status_code == 400
    assert post(api, place(payment, "/verify"), {"any": "thing"}).json()["verified"] is False


def test_an_empty_upload_is_an_error_and_not_the_payments_verification(
    api: ApiHarness, payment: str
) -> None:
    """EP-07: a file that arrives empty is never answered "verified"."""
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        answer = api.post(
            place(payment, "/verify"), AUDITOR, content=b"", headers={"Content-Type": kind}
        )
        assert (answer.status_code, answer.json()["field"]) == (400, "body")


@pytest.mark.parametrize("form", ["JSON", "PDF"])
def test_packs_of_several_payments_come_in_one_file_each_verified(
    made: tuple[ApiHarness, dict[str, str]], api: ApiHarness, form: str
) -> None:
    """EP-09."""
    wanted = list(made[1].values())
    body = {"paymentIntentIds": wanted, "format": form, "reference": "AUSTRAC 2026/11"}
    answer = post(api, "/api/evidence-packs", body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    keys = v.read_keys(api.get("/api/keys").content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        index = json.loads(archive.read("index.json"))
        assert index["reference"] == "AUSTRAC 2026/11"
        assert [each["paymentIntentId"] for each in index["packs"]] == wanted
        for each in index["packs"]:
            found = v.verify(archive.read(f"evidence_pack_{each['paymentIntentId']}.json"), keys)
            assert (found["verified"], found["hash"]) == (True, each["sha256"])
            assert len(each["files"]) == (2 if form == "PDF" else 1)
    assert [note["payment_intent_id"] for note in api.notes.kept] == wanted
    assert post(api, "/api/evidence-packs", body).content == answer.content


def test_a_list_with_one_invalid_payment_gives_nothing_and_names_it(
    api: ApiHarness, payment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EP-09."""

    def ask(*ids: str) -> Any:
        body = {"paymentIntentIds": list(ids), "format": "JSON", "reference": "R"}
        return post(api, "/api/evidence-packs", body)

    answer = ask(payment, UNKNOWN)
    assert (answer.status_code, answer.json()["paymentIntentId"]) == (404, UNKNOWN)
    assert ask(payment, payment).status_code == 400
    assert ask().status_code == 400
    assert ask(*[payment] * 101).status_code == 400
    broken = {"kind": "CHAIN", "place": "here", "sentence": "it is broken"}
    packs: Any = api.harness.packs
    monkeypatch.setattr(packs, "prove", lambda *_: {"verified": False, "problem": broken})
    answer = ask(payment)
    assert (answer.status_code, answer.json()["code"]) == (500, "EVIDENCE_BROKEN")
    assert payment in answer.json()["paymentIntentId"]
    assert not [n for n in api.notes.kept if n["action"] == "EVIDENCE_PACKS" and not n.get("code")]


def test_the_keys_are_accepted_by_the_standalone_verifier(api: ApiHarness) -> None:
    listed = api.get("/api/keys").json()
    key = listed["keys"][0]
    assert v.read_keys(key["pem"].encode()).keys() == {key["keyId"]}
    assert len(listed["schemas"]) > 60
