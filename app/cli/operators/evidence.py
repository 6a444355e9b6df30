"""`npp evidence`: packs and their verification, through the API; a file is verified right here."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import typer

from app.cli.api_client import Call
from app.cli.api_options import (
    ActAs,
    Curl,
    Json,
    PaymentArgument,
    Role,
    body,
    check_payment,
    open_api,
    print_curl,
)
from app.cli.operators.verifier_keys import limit_key, show_fingerprints
from app.cli.output import console, print_json
from app.exits import ExitCode, Problem, usage
from evidence import verify_evidence as verifier

ROLES: Final = ("auditor",)
STDOUT: Final = "-"
KEY_BYTES_MAX: Final = verifier.KEY_FILE_BYTES_MAX

app = typer.Typer(help="Evidence packs: make them, verify them.", no_args_is_help=True)

Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the audit log.")]
Reference = Annotated[str | None, typer.Option("--reference", help="Of the inquiry.")]
Out = Annotated[str, typer.Option("--out", help="File to write; - is standard output.")]


class Format(StrEnum):
    """json is the proof; pdf is for reading, and carries the JSON as an attachment."""

    JSON = "json"
    PDF = "pdf"


FormatOption = Annotated[
    Format, typer.Option("--format", help="json is the proof, pdf is for reading.")
]


@app.callback()
def _evidence() -> None:
    """Evidence packs: make them, verify them."""


@app.command()
def pack(
    payment: PaymentArgument,
    form: FormatOption = Format.JSON,
    proof: Annotated[bool, typer.Option("--proof/--no-proof", help="With replay proof.")] = True,
    out: Out = "",
    reason: Reason = None,
    reference: Reference = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Make a payment's pack and write it to a file. It holds personal data, and is audited.

    The file is written only when its JSON has the SHA-256 that the API gave and audited.
    """
    check_payment(payment)
    place = f"/api/payments/{payment}/evidence-pack"
    requested = body(
        format=form.value.upper(), include_replay_proof=proof, reason=reason, reference=reference
    )
    call = Call("POST", place, body=requested)
    if curl:
        print_curl(call)
        print_curl(Call("GET", f"{place}/download"), out or f"evidence_pack_{payment}.json")
        return
    with open_api(operator, tuple(role or ROLES)) as api:
        answer = api.ask(call).body
        path, _, query = str(answer["download"]).partition("?")
        file = api.ask(Call("GET", path, tuple(parse_qsl(query))))
    if form is Format.JSON and hashlib.sha256(file.content).hexdigest() != answer["hash"]:
        raise Problem(
            "The file is not the one that was made: its SHA-256 differs.",
            do="Try again; if it happens again, something between here and the API alters it.",
        )
    written = _write(file.content, out or str(answer["file"]))
    if json and written != STDOUT:
        print_json({**answer, "file": written})
    elif written != STDOUT:
        out_ = console()
        out_.print(f"{written}: as of {answer['asOf']}")
        out_.print(f"SHA-256 {answer['hash']}{' (of the JSON)' if form is Format.PDF else ''}")
        for sentence in answer["statement"]["sentences"]:
            out_.print(sentence)


@app.command()
def packs(
    payments: Annotated[list[str], typer.Argument(help="paymentIntentIds", show_default=False)],
    reference: Annotated[str, typer.Option("--reference", help="Of the inquiry.")],
    form: FormatOption = Format.JSON,
    out: Out = "evidence_packs.zip",
    reason: Reason = None,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Packs of several payments in one zip: each verified before it is handed out, or none."""
    for each in payments:
        check_payment(each)
    requested = body(
        payment_intent_ids=payments, format=form.value.upper(), reference=reference, reason=reason
    )
    call = Call("POST", "/api/evidence-packs", body=requested)
    if curl:
        print_curl(call, out)
        return
    with open_api(operator, tuple(role or ROLES)) as api:
        content = api.ask(call).content
    written = _write(content, out)
    if json and written != STDOUT:
        print_json({"file": written, "packs": len(payments), "reference": reference})
    elif written != STDOUT:
        console().print(f"{written}: {len(payments)} packs, each verified")


@app.command()
def verify(
    what: Annotated[str, typer.Argument(help="A pack's file (JSON or PDF), or a paymentIntentId.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Public key (PEM) or keyring; default: the API's.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="A file: also against the log, through the API.")
    ] = False,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """Verify a pack's file here, or a payment against the log.

    Exit 0: VERIFIED. 3: VERIFIED THROUGH n, what follows is not yet signed. 1: BROKEN, with the
    place. 2: not tried.

    A file needs a public key that you have by another way to prove anything to others; without
    --key the keys that the API lists are taken.
    """
    if what.startswith("pi_") and not Path(what).exists():
        check_payment(what)
        if key is not None or online:
            raise usage("--key and --online are for files.")
        _online(what, None, operator, role, json=json, curl=curl)
        return
    content = _read(Path(what), verifier.PDF_BYTES_MAX)
    is_pdf = content.startswith(verifier.PDF_BEGIN)
    if online or curl:
        if is_pdf and curl:
            raise usage("--curl takes the JSON, which the PDF has as an attachment.")
        name, pack_json = _payment_of(content)
        pdf = content if is_pdf else None
        _online(name, pack_json, operator, role, json=json, curl=curl, file=what, pdf=pdf)
        return
    keys_given = _keys(key, operator, role)
    answer = (_pdf_verified if is_pdf else verifier.verify)(content, keys_given)
    if json:
        print_json(answer)
    else:
        for line in verifier.report(answer):
            console().print(line)
        if answer["verified"] and key is None:
            console().print("with the keys that the API lists; --key uses your own")
    raise typer.Exit(verifier.EXIT_CODES.get(answer["verdict"], int(ExitCode.FAILED)))


@app.command()
def keys(
    out: Out = STDOUT,
    operator: ActAs = "",
    role: Role = None,
    json: Json = False,
    curl: Curl = False,
) -> None:
    """The verifier's public keys, as a file that `verify --key` and verify_evidence.py take.

    Their fingerprints go to standard error: publish them where this system's own people cannot
    change them, and compare them before the first use. With --json and --out the file is named.
    """
    call = Call("GET", "/api/keys")
    if curl:
        print_curl(call, "" if out == STDOUT else out)
        return
    with open_api(operator, tuple(role or ROLES)) as api:
        listed = api.ask(call).content
    written = _write(listed, out)
    show_fingerprints(listed)
    if json and written != STDOUT:
        print_json({"file": written})


app.command("limit-key")(limit_key)


def _pdf_verified(content: bytes, keys: Mapping[str, verifier.Key]) -> dict[str, Any]:
    from evidence.packs.pdf import verify_pdf  # only here: fonts take their time to load

    return verify_pdf(content, keys)


def _online(
    payment: str,
    content: bytes | None,
    operator: str,
    role: list[str] | None,
    *,
    json: bool,
    curl: bool,
    file: str = "",
    pdf: bytes | None = None,
) -> None:
    """Verify against the log. `pdf`: the file that carried the pack; its pages are checked too."""
    call = Call("POST", f"/api/payments/{payment}/evidence-pack/verify", body=content)
    if curl:
        headers = (("Content-Type", "application/json"),) if file else ()
        print_curl(
            Call("POST", call.path, headers=headers),
            data=f"--data-binary {shlex.quote('@' + file)}" if file else "",
        )
        return
    with _tried(), open_api(operator, tuple(role or ROLES)) as api:
        answer = dict(api.ask(call).body)
    if pdf is not None and answer["verdict"] != verifier.BROKEN:
        from evidence.packs.pdf import pages_problem  # only here: fonts take their time to load

        problem = pages_problem(pdf)
        if problem is not None:
            answer |= {"verdict": verifier.BROKEN, "verified": False, "problem": problem}
    if json:
        print_json(answer)
    else:
        _show(answer)
    raise typer.Exit(verifier.EXIT_CODES.get(answer["verdict"], int(ExitCode.FAILED)))


@contextmanager
def _tried() -> Iterator[None]:
    """An API that does not answer, or refuses, gives no verdict: exit code 2 instead of 3 or 1."""
    try:
        yield
    except Problem as problem:
        if problem.code in (ExitCode.FAILED, ExitCode.UNREACHABLE):
            problem.code = ExitCode.USAGE
        raise


def _show(answer: dict[str, Any]) -> None:
    out = console()
    out.print(f"SHA-256  {answer['hash']}")
    if answer["problem"] is not None:
        problem = answer["problem"]
        out.print(f"         {problem['sentence']}")
        out.print(f"BROKEN: {problem['kind']} at {problem['place']}")
        return
    for each in answer["rulings"] or ():
        out.print(f"ruling   {verifier.ruling_sentence(each)}")
    log = answer["log"]
    out.print(f"events   {answer['events']}, signed up to {answer['through']}")
    for each in answer["notYetSigned"] or ():
        out.print(f"not yet signed: {each}")
    later = "nothing came later" if not log["laterEvents"] else f"{log['laterEvents']} came later"
    read = "to its end" if log["complete"] else f"up to offset {log['readTo']} of {log['end']}"
    out.print(f"log      read {read}: {later}")
    verdict = "VERIFIED"
    if answer["verdict"] == verifier.VERIFIED_THROUGH:
        verdict = f"VERIFIED THROUGH {answer['through']}, {answer['unsigned']} not yet signed,"
    out.print(f"{verdict} against the log")


def _keys(key: Path | None, operator: str, role: list[str] | None) -> dict[str, Any]:
    if key is not None:
        content = _read(key, KEY_BYTES_MAX)
    else:
        with _tried(), open_api(operator, tuple(role or ROLES)) as api:
            content = api.ask(Call("GET", "/api/keys")).content
    try:
        return dict(verifier.read_keys(content))
    except ValueError as error:
        raise usage(f"--key: {error}") from error


def _payment_of(content: bytes) -> tuple[str, bytes]:
    """The payment that a pack's file is of, and its JSON."""
    try:
        if content.startswith(verifier.PDF_BEGIN):
            content = verifier.attached(content)
        name = verifier.read_text(content).get("paymentIntentId")
    except verifier.Broken as broken:
        raise Problem(f"BROKEN: {broken}") from broken
    check_payment(str(name))
    return str(name), content


def _read(file: Path, bytes_max: int) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(bytes_max + 1)
    except OSError as error:
        raise usage(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > bytes_max:
        raise usage(f"{file} has more than {bytes_max} bytes.")
    return content


def _write(content: bytes, name: str) -> str:
    if name == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return name
    try:
        Path(name).write_bytes(content)
    except OSError as error:
        raise usage(f"{name} cannot be written: {error.strerror}") from error
    return name
