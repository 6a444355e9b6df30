"""Evidence on the real Kafka: packs, the standalone verifier, the log read again, the
command line.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from evidence import verify_evidence as verifier
from tests.acceptance.harness import ACCEPT, SETTLE, SILENT, Harness

pytestmark = pytest.mark.broker

SIGNED_SECONDS = 40.0  # a checkpoint is signed every ten


def verify(
    harness: Harness, payment: str, who: str = "aud_1", content: bytes = b""
) -> dict[str, Any]:
    """The answer of the online verification."""
    headers = {"Authorization": f"Bearer {harness.token(who)}"}
    headers |= {"Content-Type": "application/json"} if content else {}
    path = f"{harness.url}/api/payments/{payment}/evidence-pack/verify"
    answer = harness.http.post(path, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def signed(harness: Harness, payment: str) -> dict[str, Any]:
    """Wait until checkpoints cover every event of the payment and every refusal."""

    def covered() -> dict[str, Any] | None:
        found = verify(harness, payment)
        assert found["verified"], found
        return found if found["verdict"] == "VERIFIED" else None

    return dict(harness.soon(covered, SIGNED_SECONDS, "a checkpoint over the payment"))


def download(harness: Harness, payment: str, **query: Any) -> bytes:
    path = f"/api/payments/{payment}/evidence-pack/download"
    answer = harness.ask("aud_1", "GET", path, **query)
    assert answer.status_code == 200, answer.text
    return answer.content


def keyring(harness: Harness, folder: Path) -> Path:
    """The keys that the API lists, in a file."""
    file = folder / "keyring.json"
    file.write_bytes(harness.ask("view_1", "GET", "/api/keys").content)
    return file


@pytest.fixture(scope="module")
def settled(harness: Harness) -> str:
    """A settled payment with a refused operator action, all of it signed."""
    payment = harness.create([ACCEPT, SETTLE])
    harness.until(payment, state="SETTLED")
    harness.soon(lambda: "CustomerNotified" in harness.types(payment) or
               "FundsCaptured" in harness.types(payment), what="the capture")  # fmt: skip
    body = {"attemptId": "att_002", "reason": "please"}
    assert harness.act("ops_1", payment, "retry", body).status_code == 403
    signed(harness, payment)
    return payment


def test_the_runbooks_three_calls_give_a_pack_that_verifies(harness: Harness, settled: str) -> None:
    """API-10, API-11, API-12, EP-06, OP-12, OP-13."""
    body = {"format": "JSON", "includeReplayProof": True}
    made = harness.done("aud_1", settled, "evidence-pack", body)
    content = download(harness, settled, asOf=made["asOf"])
    assert hashlib.sha256(content).hexdigest() == made["hash"]
    for given in (b"", content):
        found = verify(harness, settled, content=given)
        assert (found["verified"], found["hash"], found["problem"]) == (True, made["hash"], None)
        assert found["log"]["complete"] is True
    pack = json.loads(content)
    assert pack["paymentIntent"]["parties"]["debtor"]["name"] == "Ada Debtor"
    refused = pack["operatorActions"]["notExecuted"]
    assert [(a["operatorId"], a["reason"]) for a in refused] == [("ops_1", "please")]


def test_the_standalone_verifier_verifies_it_elsewhere(
    harness: Harness, settled: str, tmp_path: Path
) -> None:
    """EP-06, EP-07: one file, the pack, the keys, and nothing else."""
    (tmp_path / "verify_evidence.py").write_bytes(Path(verifier.__file__).read_bytes())
    content = download(harness, settled)
    (tmp_path / "pack.json").write_bytes(content)
    keyring(harness, tmp_path)
    command = [sys.executable, "-I", "verify_evidence.py", "pack.json", "keyring.json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "VERIFIED"), answer
    altered = content.replace(b'"amount":1250', b'"amount":1251', 1)
    (tmp_path / "pack.json").write_bytes(altered)
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, "BROKEN" in answer.stdout) == (1, True)
    assert verify(harness, settled, content=altered)["verified"] is False


def test_a_payment_in_progress_has_a_pack_that_says_so(harness: Harness) -> None:
    """EP-01, EP-08."""
    payment = harness.create(SILENT)
    harness.until(payment, state="SENT")
    pack = json.loads(download(harness, payment))
    assert pack["statement"]["inFlight"] is True
    assert verify(harness, payment)["verified"] is True


def test_packs_of_several_payments_come_verified_in_one_file(
    harness: Harness, settled: str
) -> None:
    """EP-09."""
    fresh = harness.create(SILENT)  # not signed yet: proved against the log
    harness.until(fresh, state="SENT")
    body = {"paymentIntentIds": [settled, fresh], "format": "PDF", "reference": "INQ-1"}
    answer = harness.ask("aud_1", "POST", "/api/evidence-packs", body)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        index = json.loads(archive.read("index.json"))
        assert [each["verified"] for each in index["packs"]] == [True, True]
        assert archive.read(f"evidence_pack_{settled}.pdf").startswith(b"%PDF")


def test_exports_are_audited_with_the_inquiry(harness: Harness, settled: str) -> None:
    """EP-10, AUD-01."""
    body = {"format": "PDF", "includeReplayProof": True, "reference": "INQ-2", "reason": "asked"}
    made = harness.done("aud_1", settled, "evidence-pack", body)

    def noted() -> Any:
        found = harness.get("/api/audit", "aud_1", paymentIntentId=settled, action="EVIDENCE_PACK")
        return next((i for i in found["items"] if "INQ-2" in json.dumps(i)), None)

    item = harness.soon(noted, what="the export in the audit log")
    assert (item["operatorId"], item["reason"]) == ("aud_1", "asked")
    assert made["hash"] in json.dumps(item)  # an earlier export may have the same


def test_the_command_line_makes_and_verifies_packs(
    harness: Harness, settled: str, tmp_path: Path
) -> None:
    """Everything that the API does, from the terminal."""
    file = tmp_path / "pack.json"
    who = ("--as", "aud_1")
    harness.npp("evidence", "pack", settled, "--out", str(file), *who)
    keys = tmp_path / "keys.json"
    harness.npp("evidence", "keys", "--out", str(keys), *who)
    assert "VERIFIED" in harness.npp("evidence", "verify", str(file), "--key", str(keys)).stdout
    assert "VERIFIED" in harness.npp("evidence", "verify", str(file), *who).stdout
    assert "against the log" in harness.npp("evidence", "verify", settled, *who).stdout
    online = harness.npp("evidence", "verify", str(file), "--online", *who, "--json")
    assert json.loads(online.stdout)["pack"]["unsigned"] == 0
    file.write_bytes(file.read_bytes().replace(b'"state":"SETTLED"', b'"state":"FAILED"'))
    broken = harness.npp("evidence", "verify", str(file), "--key", str(keys), check=False)
    assert (broken.returncode, "state" in broken.stdout) == (1, True)
    pdf = tmp_path / "pack.pdf"
    harness.npp("evidence", "pack", settled, "--format", "pdf", "--out", str(pdf), *who)
    assert pdf.read_bytes().startswith(b"%PDF")
