"""An attacker holds genuine packs and submits a file of their own."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pypdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli import npp
from app.cli.api_client import Api, Call, Reply
from app.exits import ExitCode
from evidence import verify_evidence as v
from evidence.packs.pdf import pdf_of, verify_pdf
from tests.evidence.alterations import KEYS, at, leaves

pytestmark = pytest.mark.slow

MIB = 1_048_576
PEAK_MIB_MAX = 256  # of the whole process; 32 MiB of garbage used to take 1 GB
GIVEN_MIB = 16  # the maximum that is read
MUTATIONS = 300
ACTIVE = "\n\x1b[2J\x1b[8m\u202e\x07"


def forged_tail(genuine: bytes, other: bytes, attempt: int) -> bytes:
    """A signed, settled payment with an invented failure after its checkpoint."""
    mine, his = (v.read_inputs(json.loads(each), KEYS) for each in (genuine, other))
    failed = next(e for e in his.events if e.type == "PaymentFailed")
    stated = his.schemas[failed.schema_id]
    schema = v.parse_schema(stated["schema"])
    record: Any = fastavro.schemaless_reader(io.BytesIO(failed.raw[v.PREFIX_BYTES :]), schema, None)
    last = mine.events[-1]
    record["header"] |= {
        "paymentIntentId": mine.payment, "sequence": last.header["sequence"] + 1,
        "previousHash": bytes.fromhex(last.hash), "attempt": attempt,
        "actor": {"kind": "operator", "id": "innocent.person@bank"},
    }  # fmt: skip
    written = io.BytesIO()
    fastavro.schemaless_writer(written, schema, record)
    raw = failed.raw[: v.PREFIX_BYTES] + written.getvalue()
    assert mine.proof is not None
    offset = max(last.offset, mine.proof.record["toOffset"]) + 1
    inputs = replace(
        mine,
        events=[*mine.events, v.event_of(offset, raw, schema)],
        schemas=dict(sorted({**mine.schemas, failed.schema_id: stated}.items())),
    )
    return v.canonical(v.assemble(inputs, with_proof=True))


@pytest.mark.parametrize("attempt", [1, 999, -7])
def test_an_invented_event_after_the_checkpoint_changes_no_state_and_is_not_yet_signed(
    pack_named: Callable[[str], bytes], attempt: int
) -> None:
    """EP-08, EP-11."""
    genuine = pack_named("beside")
    before = v.verify(genuine, KEYS)
    assert before["verdict"] == v.VERIFIED
    answer = v.verify(forged_tail(genuine, pack_named("failed"), attempt), KEYS)
    assert (answer["verdict"], answer["unsigned"]) == (v.VERIFIED_THROUGH, 1)
    assert (answer["state"], answer["through"]) == ("SETTLED", before["events"])
    assert answer["notYetSigned"] == [f"{before['events'] + 1} PaymentFailed"]
    lines = v.report(answer)
    assert lines[-1].startswith(f"VERIFIED THROUGH {before['events']}, 1 not yet signed")
    assert not any("FAILED" in line for line in lines)


def test_text_from_a_file_is_inert_on_the_terminal(
    pack_named: Callable[[str], bytes],
) -> None:
    """SEC-09: every text of a pack and every name in it has line feeds, escapes and direction
    changes. The report keeps one line for each of its lines, and ends BROKEN.
    """
    genuine = json.loads(pack_named("settled"))
    spoof = f"11.13.1{ACTIVE}VERIFIED"
    paths = [p for p in leaves(genuine) if isinstance(at(genuine, p), str)]
    for path in [("asOf",), *paths[:: len(paths) // 60]]:
        pack = copy.deepcopy(genuine)
        at(pack, path[:-1])[path[-1]] = spoof
        shown = v.report(v.verify(v.canonical(pack), KEYS))
        assert all(line.isprintable() for line in shown), path
        assert shown[-1].startswith("BROKEN")
    pack = {**genuine, spoof: 1}
    assert all(line.isprintable() for line in v.report(v.verify(v.canonical(pack), KEYS)))


ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(min_value=2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def targets(pack_named: Callable[[str], bytes]) -> list[tuple[Any, list[Any]]]:
    """Packs and the paths of everything in them."""

    def every(value: Any, path: tuple[Any, ...] = ()) -> Any:
        yield path
        if isinstance(value, (dict, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, each in items:
                yield from every(each, (*path, key))

    packs = [json.loads(pack_named(name)) for name in ("settled", "retried")]
    return [(pack, [p for p in every(pack) if p and "schema" not in p]) for pack in packs]


@settings(
    max_examples=MUTATIONS, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_any_content_gives_a_verdict(data: st.DataObject, targets: Any) -> None:
    """EP-07: genuine packs with any value at any place: dropped, nested, huge, of another type. The
    verdict is BROKEN, and the place is named.
    """
    genuine, paths = data.draw(st.sampled_from(targets))
    pack = copy.deepcopy(genuine)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths))
        try:
            inside = at(pack, path[:-1])
            before = inside[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        kind = data.draw(st.sampled_from(["replace", "drop", "nest"]))
        if kind == "drop":
            del inside[path[-1]]
        else:
            inside[path[-1]] = [before] if kind == "nest" else data.draw(ANYTHING)
    try:
        content = v.canonical(pack)
    except UnicodeEncodeError:  # half of a surrogate pair: no such file can be written
        return
    answer = v.verify(content, KEYS)
    if content == v.canonical(genuine):
        return
    assert answer["verdict"] == v.BROKEN
    assert answer["problem"]["place"]
    assert all(line.isprintable() for line in v.report(answer))


@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_verdict(content: bytes) -> None:
    """EP-07."""
    assert v.verify(content, KEYS)["verdict"] == v.BROKEN


NONSENSE = {
    "empty lists": b"[" + b"[]," * (GIVEN_MIB * MIB // 3) + b"[]]",
    "objects": b"[" + b'{"":0},' * (GIVEN_MIB * MIB // 7) + b"0]",
    "numbers": b"[" + b"1234," * (GIVEN_MIB * MIB // 5) + b"0]",
    "nested": b"[" * (GIVEN_MIB * MIB),
    "escapes in one text": b'["' + b"\\n" * (GIVEN_MIB * MIB // 2 - 4) + b'"]',
    "one number": b"9" * (GIVEN_MIB * MIB),
    "one wide text": b'["\xf0\x9f\x98\x80' + b"a" * (GIVEN_MIB * MIB - 20) + b'"]',
    "as many values as may be": b"[" + b'{"":0},' * 499_000 + b"0]",
}
MEASURE = """
import re, sys
sys.path.insert(0, sys.argv[1])
import verify_evidence as v
answer = v.verify(open(sys.argv[2], "rb").read(), {})
peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
print(answer["verdict"], int(peak) // 1024)
"""


@pytest.mark.parametrize("what", NONSENSE)
def test_a_large_file_of_nonsense_costs_no_more_memory_than_a_large_pack(
    what: str, tmp_path: Path
) -> None:
    (tmp_path / "pack.json").write_bytes(NONSENSE[what])
    folder = str(Path(v.__file__).parent)
    answer = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, folder, str(tmp_path / "pack.json")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    verdict, peak_mib = answer.stdout.split()
    assert verdict == v.BROKEN
    assert int(peak_mib) <= PEAK_MIB_MAX, f"{peak_mib} MiB"


def test_an_empty_file_is_broken() -> None:
    assert v.verify(b"", KEYS)["problem"]["sentence"] == "it is empty"


def verdict_of_pdf(pdf: bytes) -> tuple[str, str]:
    """What is wrong with a PDF; it must not verify."""
    answer = verify_pdf(pdf, KEYS)
    assert answer["verdict"] == v.BROKEN
    assert all(line.isprintable() for line in v.report(answer))
    return answer["problem"]["kind"], answer["problem"]["place"]


def test_a_pdf_carries_its_pack_and_its_pages_cannot_say_something_else(
    pack_named: Callable[[str], bytes],
) -> None:
    """EP-04, EP-07: a genuine pack in a PDF whose pages were made of another is BROKEN."""
    genuine, other = pack_named("beside"), pack_named("failed")
    pdf = pdf_of(genuine)
    assert verify_pdf(pdf, KEYS)["verdict"] == v.VERIFIED
    assert verify_pdf(pdf, KEYS)["hash"] == v.sha256(genuine)
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    (name,) = reader.attachments
    assert reader.attachments[name] == [genuine]
    assert b"/Subtype /application#2Fjson" in pdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_of(other)))
    del writer._root_object["/Names"]
    writer.add_attachment("evidence_pack.json", genuine)
    swapped = io.BytesIO()
    writer.write(swapped)
    assert verdict_of_pdf(swapped.getvalue())[0] == "PDF"
    packed = {each: zlib.compress(each, 9) for each in (genuine, other)}
    moved = pdf_of(other).replace(packed[other], packed[genuine])
    moved = moved.replace(b"/Length %d" % len(packed[other]), b"/Length %d" % len(packed[genuine]))
    assert v.attached(moved) == genuine
    assert verdict_of_pdf(moved) == ("PDF", "pages")
    assert verdict_of_pdf(pdf + b"\n%%EOF\n") == ("PDF", "pages")


def test_any_pdf_gives_a_verdict(pack_named: Callable[[str], bytes]) -> None:
    """EP-07: cut, altered, doubled, or a bomb of the size that is not unpacked."""
    pdf = pdf_of(pack_named("beside"))
    at = pdf.index(b"/EmbeddedFile")
    for file in (
        b"%PDF-", pdf[: at + 40], pdf[: at + 400], pdf.replace(b"/EmbeddedFile", b"/EmbeddedFyle"),
        pdf + b"/Type /EmbeddedFile", pdf[:at] + pdf[at:].replace(b"stream\n", b"stream\nx", 1),
    ):  # fmt: skip
        assert verdict_of_pdf(file)[0] == "PDF"
    bomb = zlib.compress(bytes(v.PACK_BYTES_MAX + 1))
    head = b"%%PDF-1.4\n<< /Length %d /Type /EmbeddedFile >>\nstream\n" % len(bomb)
    assert verdict_of_pdf(head + bomb + b"endstream\n") == ("PDF", "file")


def test_an_attachment_that_unpacks_to_much_costs_no_more_memory_than_a_pack() -> None:
    """EP-07: it is unpacked up to the limit and no further."""
    packer = zlib.compressobj()
    megabyte = bytes(1_048_576)
    bomb = b"".join([*(packer.compress(megabyte) for _ in range(400)), packer.flush()])
    head = b"%%PDF-1.4\n<< /Length %d /Type /EmbeddedFile >>\nstream\n" % len(bomb)
    tracemalloc.start()
    try:
        assert v.verify_file(head + bomb, KEYS)["problem"]["kind"] == "PDF"
        assert tracemalloc.get_traced_memory()[1] < 5 * v.PACK_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_pdf_is_verified_online_too_with_its_pages(
    pack_named: Callable[[str], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """EP-07, EP-11: the JSON in it goes to the API, which compares it with the log."""
    genuine, other = pack_named("beside"), pack_named("failed")
    sent: list[Call] = []

    def answer(_self: Api, call: Call) -> Reply:
        sent.append(call)
        log = {"laterEvents": 0, "complete": True, "readTo": 9, "end": 9}
        body = v.verify(genuine, KEYS) | {"log": log}
        return Reply(200, body, b"", {})

    monkeypatch.setenv("NPP_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("NPP_API_TOKEN", "t")
    monkeypatch.setattr(Api, "send", answer)
    file = tmp_path / "pack.pdf"
    file.write_bytes(pdf_of(genuine))
    words = ["evidence", "verify", "--online", str(file)]
    assert npp.run_cli(words) == ExitCode.OK
    assert [call.body for call in sent] == [genuine]
    packed = {each: zlib.compress(each, 9) for each in (genuine, other)}
    moved = pdf_of(other).replace(packed[other], packed[genuine])
    file.write_bytes(
        moved.replace(b"/Length %d" % len(packed[other]), b"/Length %d" % len(packed[genuine]))
    )
    assert npp.run_cli(words) == ExitCode.FAILED
    assert "BROKEN: PDF at pages" in capsys.readouterr().out
    file.write_bytes(b"%PDF-1.4")
    assert npp.run_cli(words) == ExitCode.FAILED
