"""Path parameters and their patterns: a text that does not have the form of an id is never looked
up. A number is written in the digits 0 to 9.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from core import values
from core.values import ascii_digits


def _plain(given: object) -> object:
    """The digits of a whole number; 1.0 counts as 1, as in JSON."""
    if not isinstance(given, str):
        return given
    whole, dot, fraction = given.partition(".")
    if not ascii_digits(whole) or fraction.strip("0") or bool(dot) != bool(fraction):
        raise PydanticCustomError("int_parsing", "no plain digits")
    return whole


# For a whole number in path or query; without it 1_0 would be 10, and +1 and " 1" would be 1.
PLAIN: Final = BeforeValidator(_plain)

PAYMENT_ID: Final = "pi_[a-z2-7]{26}"

# The guard answers 404 PAYMENT_NOT_FOUND for an id of another form.
PaymentId = Annotated[
    values.PaymentIntentId,
    Path(pattern=f"^{PAYMENT_ID}$", examples=["pi_pdkz22ub6ujnprx6nas575vbxy"]),
]
ApprovalId = Annotated[values.ApprovalId, Path(pattern="^apr_[0-9]{3,9}$", examples=["apr_001"])]
ConflictId = Annotated[values.ConflictId, Path(pattern="^cnf_[0-9]{3,9}$", examples=["cnf_001"])]
CommandId = Annotated[str, Path(pattern="^[A-Za-z0-9._:-]{1,100}$")]
StopId = Annotated[str, Path(pattern="^[A-Za-z0-9._:-]{1,100}$")]
RequestId = Annotated[str, Path(pattern="^[A-Za-z0-9._:-]{1,100}$")]
Partition = Annotated[int, Path(ge=0, le=2**31 - 1), PLAIN]
Offset = Annotated[int, Path(ge=0, le=2**53 - 1), PLAIN]
