"""The people that a demo user can sign in as; for dual control there are at least two."""

from __future__ import annotations

from typing import Final

from control.acts.roles import ADMIN, APPROVER, AUDITOR, OPERATOR, SENIOR, VIEWER
from web.site import Person

PEOPLE: Final = (
    Person("vera", "Vera", VIEWER),
    Person("olga", "Olga", OPERATOR),
    Person("sue", "Sue", SENIOR),
    Person("anna", "Anna", APPROVER),
    Person("aron", "Aron", APPROVER),
    Person("audra", "Audra", AUDITOR),
    Person("ada", "Ada", ADMIN),
    Person("adam", "Adam", ADMIN),
)
