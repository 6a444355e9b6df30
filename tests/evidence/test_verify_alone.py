"""The standalone verifier, run as an auditor runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evidence import verify_evidence as v
from evidence.keys import pem_of, write_keyring
from evidence.packs.pdf import pdf_of
from schemas import definitions
from tests.evidence.alterations import FORGER
from tests.evidence.harness import keyring

pytestmark = pytest.mark.slow

FILE = Path(v.__file__)


@pytest.fixture
def alone(tmp_path: Path, content_of: Callable[[str], bytes]) -> Path:
    """The one file, a pack of each verdict and the keys, in a separate folder."""
    content = content_of("beside")
    (tmp_path / "through.json").write_bytes(content_of("in flight"))
    shutil.copy(FILE, tmp_path / "verify_evidence.py")
    (tmp_path / "pack.json").write_bytes(content)
    (tmp_path / "pack.pdf").write_bytes(pdf_of(content))
    (tmp_path / "key.pem").write_text(pem_of(keyring().listed()[0]))
    (tmp_path / "other.pem").write_text(pem_of(keyring(FORGER).listed()[0]))
    write_keyring(tmp_path / "keyring.json", keyring())
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "verify_evidence.py", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_standalone_file_verifies_a_pack_with_a_key_or_a_keyring(alone: Path) -> None:
    """EP-06."""
    for key in ("key.pem", "keyring.json"):
        answer = run(alone, "pack.json", key)
        assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "VERIFIED")
    body = json.loads(run(alone, "pack.json", "key.pem", "--json").stdout)
    assert body["verified"] is True
    assert body["hash"] == v.sha256((alone / "pack.json").read_bytes())


def test_the_commands_exit_codes_distinguish_the_verdicts_and_what_was_not_checked(
    alone: Path,
) -> None:
    """EP-07, EP-11."""
    through = run(alone, "through.json", "key.pem")
    assert (through.returncode, "VERIFIED THROUGH" in through.stdout) == (3, True)
    assert run(alone, "pack.json", "other.pem").returncode == 1
    assert run(alone, "missing.json", "key.pem").returncode == 2
    assert run(alone, "pack.json", "missing.pem").returncode == 2
    assert run(alone, "pack.json", "pack.json").returncode == 2
    assert run(alone, "pack.json").returncode == 2
    assert run(alone, "pack.json", "key.pem", "--sha256", "00").returncode == 1
    (alone / "pack.json").write_bytes(b"{}")
    answer = run(alone, "pack.json", "key.pem")
    assert (answer.returncode, "BROKEN: FORMAT at format" in answer.stdout) == (1, True)
    assert "Traceback" not in answer.stderr


def test_the_standalone_file_verifies_the_pack_inside_a_pdf(alone: Path) -> None:
    """EP-04, EP-06: with the JSON's hash; it says that the pages were not compared."""
    genuine = v.sha256((alone / "pack.json").read_bytes())
    answer = run(alone, "pack.pdf", "key.pem", "--sha256", genuine)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "VERIFIED"), answer
    assert v.PAGES_NOTE in answer.stdout
    assert v.PAGES_NOTE not in run(alone, "pack.json", "key.pem").stdout
    pdf = (alone / "pack.pdf").read_bytes()
    at = pdf.index(b"/EmbeddedFile")
    bomb = zlib.compress(bytes(v.PACK_BYTES_MAX + 1))
    head = b"%%PDF-1.4\n<< /Length %d /Type /EmbeddedFile >>\nstream\n" % len(bomb)
    for file in (pdf[: at + 400], pdf + b"/Type /EmbeddedFile", head + bomb, b"%PDF-"):
        (alone / "bad.pdf").write_bytes(file)
        answer = run(alone, "bad.pdf", "key.pem")
        assert (answer.returncode, "BROKEN: PDF at file" in answer.stdout) == (1, True), answer
    with (alone / "bad.pdf").open("wb") as large:
        large.write(pdf)
        large.truncate(v.PDF_BYTES_MAX + 1)
    assert "has more than" in run(alone, "bad.pdf", "key.pem").stdout


def test_the_file_imports_nothing_from_this_product() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import verify_evidence\n"
        "ours = {'core', 'schemas', 'engine', 'evidence', 'processors', 'api', 'app', 'msgspec'}\n"
        "print(sorted(ours & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", code, str(FILE.parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "[]"


def test_the_party_schema_in_the_file_equals_the_published_one() -> None:
    def shape(schema: Any) -> Any:
        if isinstance(schema, dict):
            kept = ("type", "name", "fields", "items")
            return {k: shape(each) for k, each in schema.items() if k in kept}
        if isinstance(schema, list):
            return [shape(each) for each in schema]
        return str(schema).rpartition(".")[2]

    assert shape(v.PARTIES) == shape(definitions.current("Parties"))
