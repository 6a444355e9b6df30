"""Signed control acts as bodies: the client signs, the API checks and carries (domain §4).

Acts that the processes would refuse are refused here: the same fold checks them, on a copy.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import Field

from api.edge import problems
from api.edge.bodies import Body
from api.services import Principal, Services
from control.acts import act_json
from core import refusals
from core.refusals import refuse

NEXT_OFFSET: Final = 2**62  # of a record that is not written yet
SAME_PERSON: Final = "SAME_PERSON"
T = TypeVar("T")


class SignedAct(Body):
    """A control act as `npp` signs it: `type` and `fields` are the record's (docs/decisions/0017),
    bytes as base64.
    """

    type: str = Field(max_length=100, examples=["ResumeRequested"])
    fields: dict[str, Any]
    signature: dict[str, Any] | None = Field(
        examples=[{"keyId": "ed25519-0f3c…", "number": 1, "signedAt": 1, "signature": "…"}]
    )


def read(body: SignedAct, who: Principal, kind: type[T]) -> T:
    """The act in the body, of this kind and of who signed in. Raises Problem."""
    if body.signature is None:
        raise refused("it is not signed")
    try:
        record = act_json.from_json(body.model_dump())
    except act_json.NotAnAct as error:
        raise problems.invalid("body", f"is not a signed act: {error}") from error
    if not isinstance(record, kind):
        raise problems.invalid("type", f"is not {kind.__name__}")
    if getattr(record, "actor", None) != who.id:
        raise refused("its signer is not the signed-in user")
    return record


def carry(use: Services, record: Any) -> int:
    """Write an act that the processes will obey. Returns its control offset. Raises Problem when
    they would refuse it.
    """
    control = use.commands.control()
    found = control.copied().apply_record(NEXT_OFFSET, record, use.clock.now_ms())
    if found is not None and found.rule == SAME_PERSON:
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    if found is not None:
        raise refused(found.sentence, found.rule)
    return use.commands.write_control(record)


def refused(problem: str, broken_rule: str | None = None) -> problems.Problem:
    """The problem for an act that is refused; `broken_rule`: the fold's rule, if it has judged."""
    more: dict[str, Any] = {} if broken_rule is None else {"brokenRule": broken_rule}
    return problems.refused(refuse(refusals.ACT_NOT_SIGNED, problem=problem), **more)
