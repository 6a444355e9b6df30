"""Signed control acts as bodies: the client signs, the API checks and carries (domain §4).

What those who obey would refuse is refused here: the same fold is asked, on a copy.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import Field

from api.edge import problems
from api.edge.bodies import Body
from api.services import Principal, Services
from control import act_json
from core import refusals
from core.refusals import refuse

NEXT_OFFSET: Final = 2**62  # of a record that is not written yet
SAME_PERSON: Final = "SAME_PERSON"
T = TypeVar("T")


class SignedAct(Body):
    """A control act as `npp` signs it: `type` and `fields` are the record's (docs/decisions/0017),
    bytes as base64."""

    type: str = Field(max_length=100, examples=["ResumeRequested"])
    fields: dict[str, Any]
    signature: dict[str, Any] | None = Field(
        examples=[{"keyId": "ed25519-0f3c…", "number": 1, "signedAt": 1, "signature": "…"}]
    )


def read(asked: SignedAct, who: Principal, kind: type[T]) -> T:
    """The act in the body, of this kind and of who signed in. Raises Problem."""
    if asked.signature is None:
        raise refused("nobody has signed it")
    try:
        record = act_json.from_json(asked.model_dump())
    except act_json.NotAnAct as error:
        raise problems.invalid("body", f"is no signed act: {error}") from error
    if not isinstance(record, kind):
        raise problems.invalid("type", f"is not {kind.__name__}")
    if getattr(record, "actor", None) != who.id:
        raise refused("it is signed in another name than who signed in")
    return record


def carry(use: Services, record: Any) -> int:
    """Write the act when everybody will obey it; its control offset. Raises Problem."""
    control = use.commands.control()
    found = control.copied().apply_record(NEXT_OFFSET, record, use.clock.now_ms())
    if found is not None and found.rule == SAME_PERSON:
        raise problems.refused(refuse(refusals.SELF_APPROVAL))
    if found is not None:
        raise refused(found.sentence, found.rule)
    return use.commands.write_control(record)


def refused(problem: str, broken_rule: str | None = None) -> problems.Problem:
    """The act is not taken."""
    more: dict[str, Any] = {} if broken_rule is None else {"brokenRule": broken_rule}
    return problems.refused(refuse(refusals.ACT_NOT_SIGNED, problem=problem), **more)
