"""Evidence packs: made on demand, stored nowhere; each export is audited before it is returned."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
import orjson
from fastapi import Query
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.auth.access import EXPORT
from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, Use
from api.edge.bodies import Body, Text
from api.edge.params import gives, json_answer
from api.edge.paths import PAYMENT_ID, PaymentId
from api.edge.problems import Problem, invalid
from api.edge.views import JSON
from api.evidence import zip as evidence_zip
from api.evidence.views import (
    BrokenPlaceView,
    KeysView,
    PackView,
    PublicKeyView,
    SchemaMeaningView,
    VerificationView,
)
from api.evidence.work import broken, making, not_found_named
from api.services import Principal, Services
from evidence.keys import fingerprint, pem_of

router = guarded()

PACK: Final = "/api/payments/{payment_intent_id}/evidence-pack"
PDF_TYPE: Final = "application/pdf"
ZIP_TYPE: Final = "application/zip"
PACKS_COUNT_MAX: Final = 100  # of one call
ZIP_BYTES_MAX: Final = 512 * 1024 * 1024
ZIP_MEMORY_BYTES: Final = 16 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024


class Format(StrEnum):
    """JSON is the proof; PDF is for reading, and carries the JSON as an attachment."""

    JSON = "JSON"
    PDF = "PDF"


class MakePack(Body):
    """`reason` and `reference` (of the inquiry) go into the audit log."""

    format: Annotated[Format, Field(strict=False)] = Format.JSON
    includeReplayProof: bool = True  # noqa: N815 names on the wire
    reason: Text | None = None
    reference: Text | None = None


class MakePacks(Body):
    """For a regulator's inquiry: `reference` names it."""

    paymentIntentIds: Annotated[  # noqa: N815
        list[Annotated[str, StringConstraints(pattern=f"^{PAYMENT_ID}$")]],
        Field(min_length=1, max_length=PACKS_COUNT_MAX),
    ]
    format: Annotated[Format, Field(strict=False)] = Format.JSON
    reference: Text
    reason: Text | None = None


# -- one payment -----------------------------------------------------------------------------------


@router.post(PACK, operation_id="makeEvidencePack", summary="Make a pack", **gives(PackView))
async def evidence_pack(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId, body: MakePack
) -> Response:
    """In every state, read-only, without approval. The answer has the download link."""

    def work() -> PackView:
        proof = body.includeReplayProof
        as_of, pack = use.evidence.build(payment_intent_id, None, proof=proof)
        made = _view(payment_intent_id, as_of, pack, body.format, proof=proof)
        _note(request, use, who, "EVIDENCE_PACK", payment_intent_id, made, body)
        return made

    return json_answer(await making.run(work))


@router.get(
    f"{PACK}/download",
    operation_id="downloadEvidencePack",
    summary="The pack as a file",
    response_model=None,
    responses={
        200: {
            "description": "The pack; a masked view, not a proof, for viewer and approver.",
            "content": {
                JSON: {"schema": {"type": "object"}},
                PDF_TYPE: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
)
async def evidence_pack_download(
    request: Request,
    who: Caller,
    use: Use,
    payment_intent_id: PaymentId,
    form: Annotated[Format, Query(alias="format")] = Format.JSON,
    as_of: Annotated[
        str | None,
        Query(alias="asOf", pattern=r"^[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}(\.[0-9]{1,18})?$"),
    ] = None,
    proof: Annotated[bool, Query(alias="includeReplayProof")] = True,
) -> Response:
    """Without parameters, the JSON of the current state. A view is always of the current state."""

    def work() -> Response:
        if who.roles.isdisjoint(EXPORT):
            action, pack, at = "EVIDENCE_VIEW", use.evidence.view(payment_intent_id), "now"
        else:
            action = "EVIDENCE_DOWNLOAD"
            at, pack = use.evidence.build(payment_intent_id, as_of, proof=proof)
        content = use.evidence.pdf(pack) if form is Format.PDF else pack
        made = _view(payment_intent_id, at, pack, form, proof=proof)
        _note(request, use, who, action, payment_intent_id, made, None)
        return _file(made.file, content, PDF_TYPE if form is Format.PDF else JSON)

    return await making.run(work)


@router.post(
    f"{PACK}/verify",
    operation_id="verifyEvidencePack",
    summary="Verify against the log",
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {JSON: {"schema": {}}},
            "description": "A pack exactly as it was downloaded; nothing: the payment in the log. "
            "Any other file is no error here: the response says that it is not verified, and why.",
        }
    },
    **gives(VerificationView),
)
async def evidence_pack_verify(
    request: Request, who: Caller, use: Use, payment_intent_id: PaymentId
) -> Response:
    """Re-reads the payment's records from the log and compares them with the read model, the chain
    and the checkpoint; a pack in the body is verified too."""
    pack = await request.body() or None  # the edge bounds it
    if pack is None and "content-type" in request.headers:
        raise invalid("body", "is empty: a pack exactly as it was downloaded, or no body at all")

    def work() -> VerificationView:
        answer = use.evidence.verify(payment_intent_id, pack)
        view = verification(answer)
        _write(
            request, use, who, "EVIDENCE_VERIFY", payment_intent_id,
            {"verdict": view.verdict, "through": view.through, "sha256": view.hash,
             "packGiven": pack is not None,
             "problem": None if view.problem is None else view.problem.kind},
        )  # fmt: skip
        return view

    return json_answer(await making.run(work))


# -- several ---------------------------------------------------------------------------------------


@router.post(
    "/api/evidence-packs",
    operation_id="makeEvidencePacks",
    summary="Packs of several payments in one file",
    response_model=None,
    responses={
        200: {
            "description": "A zip: a pack for each payment, each verified, and index.json.",
            "content": {ZIP_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def evidence_packs(request: Request, who: Caller, use: Use, body: MakePacks) -> Response:
    """All of them or none: one that cannot be verified refuses the call and is named."""
    names = body.paymentIntentIds
    if len(set(names)) != len(names):
        raise invalid("paymentIntentIds", "names a payment twice")
    return await making.run(_zip, request, who, use, body)


def _zip(request: Request, who: Principal, use: Services, body: MakePacks) -> Response:
    file = tempfile.SpooledTemporaryFile(max_size=ZIP_MEMORY_BYTES)  # noqa: SIM115 the answer's
    with evidence_zip.Writer(file, body.reference) as archive:
        for name in body.paymentIntentIds:
            try:
                as_of, pack = use.evidence.build(name, None, proof=True)
                answer = use.evidence.prove(name, pack)
            except KeyError:
                raise not_found_named(name) from None
            if not answer["verified"]:
                raise broken(**answer["problem"], paymentIntentId=name)
            pdf = use.evidence.pdf(pack) if body.format is Format.PDF else None
            archive.add(name, as_of, pack, pdf, answer)
            if file.tell() > ZIP_BYTES_MAX:
                raise Problem(
                    413, "TOO_LARGE", "PACKS_TOO_LARGE", "Request fewer payments in one call."
                )
    for name, as_of, digest in archive.packs:
        detail = {"asOf": as_of, "sha256": digest, "packs": len(archive.packs)}
        _write(request, use, who, "EVIDENCE_PACKS", name, detail, body)
    size = file.tell()
    file.seek(0)
    headers = {
        "Content-Disposition": 'attachment; filename="evidence_packs.zip"',
        "Content-Length": str(size),
    }
    return StreamingResponse(_chunks(file), media_type=ZIP_TYPE, headers=headers)


def _chunks(file: Any) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


# -- keys ------------------------------------------------------------------------------------------


@router.get(
    "/api/keys", operation_id="keys", summary="The verifier's public keys", **gives(KeysView)
)
async def keys(use: Use) -> Response:
    """Old keys stay listed. Compare a key's fingerprint with one that you got in another way."""

    def work() -> KeysView:
        return KeysView(
            1,
            [
                PublicKeyView(
                    **msgspec.structs.asdict(each),
                    fingerprint=fingerprint(bytes.fromhex(each.public_key)),
                    pem=pem_of(each),
                )
                for each in use.keyring.listed()
            ],
            [
                SchemaMeaningView(s.schema_id, s.sha256, s.key_id, s.signature)
                for s in use.keyring.schemas()
            ],
        )

    return json_answer(await making.run(work))


# -- parts -----------------------------------------------------------------------------------------


def verification(answer: dict[str, Any]) -> VerificationView:
    """The findings as a response body."""
    problem = answer.get("problem")
    return VerificationView(
        payment_intent_id=answer["paymentIntentId"],
        verdict=answer["verdict"],
        verified=answer["verified"],
        hash=answer["hash"],
        problem=None if problem is None else BrokenPlaceView(**problem),
        as_of=answer.get("asOf"),
        events=answer.get("events"),
        through=answer.get("through"),
        unsigned=answer.get("unsigned"),
        checkpoint=answer.get("checkpoint"),
        says=answer.get("says"),
        not_yet_signed=answer.get("notYetSigned"),
        rulings=answer.get("rulings"),
        key_note=answer.get("keyNote") or None,
        log=answer.get("log"),
        pack=answer.get("pack"),
    )


def _view(payment: str, as_of: str, pack: bytes, form: Format, *, proof: bool) -> PackView:
    query = {"format": str(form), "asOf": as_of, "includeReplayProof": str(proof).lower()}
    place = PACK.format(payment_intent_id=payment)
    return PackView(
        payment_intent_id=payment,
        as_of=as_of,
        hash=hashlib.sha256(pack).hexdigest(),
        format=str(form),
        include_replay_proof=proof,
        file=f"evidence_pack_{payment}.{str(form).lower()}",
        download=f"{place}/download?{urlencode(query)}",
        statement=_decode_said(pack).statement,
    )


class _Said(msgspec.Struct):
    statement: dict[str, Any]


_decode_said: Final = msgspec.json.Decoder(_Said).decode


def _file(name: str, content: bytes, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)


def _note(
    request: Request,
    use: Services,
    who: Principal,
    action: str,
    payment: str,
    made: PackView,
    query: MakePack | None,
) -> None:
    detail = {
        "format": made.format, "includeReplayProof": made.include_replay_proof,
        "asOf": made.as_of, "sha256": made.hash,
    }  # fmt: skip
    _write(request, use, who, action, payment, detail, query)


def _write(
    request: Request,
    use: Services,
    who: Principal,
    action: str,
    payment: str,
    detail: dict[str, Any],
    query: MakePack | MakePacks | None = None,
) -> None:
    """Before the response: an unaudited export is not returned. Raises PublishUnconfirmed."""
    if query is not None:
        detail = {**detail, "format": str(query.format), "reference": query.reference}
    use.audit.note(
        who,
        action,
        method=request.method,
        path=request.scope["path"],
        status=200,
        payment_intent_id=payment,
        reason=None if query is None else query.reason,
        detail=orjson.dumps(detail).decode(),
    )
