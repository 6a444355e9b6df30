"""Path parameters, by pattern: what does not have the form of an id is never looked up. A number is
digits 0 to 9 and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from core import values
from core.values import ascii_digits


def _plain(given: object) -> object:
    """Digits alone; 1.0 is a whole number too, as it is in JSON."""
    if not isinstance(given, str):
        return given
    whole, dot, fraction = given.partition(".")
    if not ascii_digits(whole) or fraction.strip("0") or bool(dot) != bool(fraction):
        raise PydanticCustomError("int_parsing", "no plain digits")
    return whole


# A whole number of path or query; without it 1_0 is 10, and +1 and " 1" are 1.
PLAIN: Final = BeforeValidator(_plain)

PAYMENT_ID: Final = "pi_[a-z2-7]{26}"

# Of another form: 404 PAYMENT_NOT_FOUND, said by the guard.
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
