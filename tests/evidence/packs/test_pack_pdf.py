"""PDF packs: the same content, names beyond Latin-1, inert text, reproducible bytes."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest

from evidence.packs.pdf import pdf_of
from evidence.packs.words import flat
from tests.evidence.harness import Harness
from tests.rooms import ROOT

pytestmark = pytest.mark.slow

NAMES = "Đặng Thị Ωμέγα Привет Ěščřžý"
HAN, KANA, HANGUL = "王小明", "さくらカタカナ東京", "김민수"
MARKUP = "<b>bold</b> <script>x</script> &amp; (a) \\n %PDF </para>"


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path / "readmodel")
    yield made
    made.close()


def text_of(pdf: bytes) -> str:
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return "\n".join(page.extract_text() for page in pages)


def test_every_page_of_the_pdf_shows_the_jsons_sha_256(harness: Harness) -> None:
    """EP-04."""
    payment = harness.world.retried("k")
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    pages = pypdf.PdfReader(io.BytesIO(harness.packs.pdf(content))).pages
    assert len(pages) > 3
    digest = hashlib.sha256(content).hexdigest()
    assert all(f"SHA-256 of the JSON: {digest}" in page.extract_text() for page in pages)


def test_the_pdf_has_every_part_and_every_event_of_the_json(harness: Harness) -> None:
    """EP-04."""
    payment = harness.world.retried("k")
    harness.all()
    text = text_of(harness.packs.pdf(harness.packs.build(payment, None, proof=True)[1]))
    for words in (
        "Payment intent", "Rail decisions", "Lifecycle events", "Operator actions", "Replay proof",
        "RETRY by ops_001, executed", "Approval apr_001", "23 FundsCaptured", "50.00", "Checkpoint",
    ):  # fmt: skip
        assert words in " ".join(text.split()), words


def test_the_pdf_starts_with_a_summary_and_ends_with_the_raw_fields(harness: Harness) -> None:
    """EP-04: summary, timeline, money, people, proof, how to verify; then every field."""
    payment = harness.world.retried("k")
    harness.all()
    pdf = harness.packs.pdf(harness.packs.build(payment, None, proof=True)[1])
    text = " ".join(text_of(pdf).split())
    order = (
        *("1 Summary", "AUD 50.00: SETTLED. Money PAID: the rail settled it."),
        *("2 Timeline", "Payment sent to rail: att_002, AUD 50.00", "3 Money"),
        *("captured: debited from what was", "4 People"),
        *(
            "apr_001: Retry, asked for by ops_001: APPROVED",
            "5 Replay proof",
            "signed checkpoint 1",
        ),
        *("6 How to verify", "verify_evidence.py FILE keyring.json", "A Payment intent"),
        *("C Lifecycle events: every field", "header.cause.inputHash", "G Replay proof"),
    )
    places = [text.find(words) for words in order]
    assert -1 not in places, order[places.index(-1)]
    assert places == sorted(places)


def test_names_beyond_latin_1_print_and_characters_without_a_font_print_as_code_points(
    harness: Harness,
) -> None:
    """EP-04."""
    odd = "\u202eevil\u200b \U0001f408 \u05e9\u05dc"
    payment = harness.create("k", f"{NAMES} {HAN} {HANGUL}", f"{KANA} {odd}")
    harness.all()
    text = text_of(harness.packs.pdf(harness.packs.build(payment, None, proof=True)[1]))
    flat = " ".join(text.split())
    for words in (NAMES, HAN, HANGUL, KANA):
        assert words in flat, words
    for code in ("[U+202E]evil[U+200B]", "[U+1F408]", "[U+05E9]"):
        assert code in flat, code
    assert "U+1F408 CAT" in flat
    assert "U+202E RIGHT-TO-LEFT OVERRIDE" in flat
    assert "\u202e" not in text


def test_markup_in_free_text_stays_text(harness: Harness) -> None:
    """EP-04."""
    payment = harness.create("k", "Ada", MARKUP)
    harness.all()
    pdf = harness.packs.pdf(harness.packs.build(payment, None, proof=True)[1])
    assert MARKUP in " ".join(text_of(pdf).split())
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    assert b"/JavaScript" not in pdf
    assert all("/Annots" not in page for page in reader.pages)


def test_long_words_are_wrapped_and_nothing_runs_off_the_page(harness: Harness) -> None:
    payment = harness.create("k", "W" * 130, "x" * 280)
    harness.all()
    text = text_of(harness.packs.pdf(harness.packs.build(payment, None, proof=True)[1]))
    assert text.replace("\n", "").count("W" * 130) >= 1


def test_the_same_json_gives_the_same_pdf_in_another_process(
    harness: Harness, tmp_path: Path
) -> None:
    """EP-05."""
    payment = harness.create("k", f"{NAMES} {HAN}", KANA)
    harness.all()
    _, content = harness.packs.build(payment, None, proof=True)
    (tmp_path / "pack.json").write_bytes(content)
    code = (
        "import sys, hashlib; from pathlib import Path; from evidence.packs.pdf import pdf_of\n"
        "content = Path(sys.argv[1]).read_bytes()\n"
        "print({hashlib.sha256(pdf_of(content)).hexdigest() for _ in range(2)})"
    )
    digest = hashlib.sha256(pdf_of(content)).hexdigest()
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "pack.json")],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert answer.stdout.strip() == f"{{'{digest}'}}"


def test_each_page_of_a_view_says_that_it_is_no_proof(harness: Harness) -> None:
    payment = harness.create("k", "Ada Lovelace", "zebra")
    harness.all()
    pdf = harness.packs.pdf(harness.packs.view(payment))
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    assert all("NOT A PROOF" in page.extract_text() for page in pages)
    assert "Lovelace" not in text_of(pdf)
    with pytest.raises(ValueError, match="neither"):
        pdf_of(b"{}")


def test_an_amount_is_printed_with_its_currency() -> None:
    """Readers never see unformatted minor units."""
    values = {
        "amount": 1858,
        "currency": "AUD",
        "attempts": [{"held": 5, "waived": 0, "number": 1}],
        "conflict": {"amount": 123456, "currency": "NZD"},
    }
    assert dict(flat(values)) == {
        "amount": "AUD 18.58",
        "currency": "AUD",
        "attempts[1].held": "AUD 0.05",
        "attempts[1].waived": "AUD 0.00",
        "attempts[1].number": "1",
        "conflict.amount": "NZD 1,234.56",
        "conflict.currency": "NZD",
    }
