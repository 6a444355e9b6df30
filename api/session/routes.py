"""Who the caller is, as the API sees it."""

from __future__ import annotations

from pydantic import BaseModel

from api.auth.guard import router as guarded
from api.auth.sign_in import Caller, sees_personal

router = guarded()


class Session(BaseModel):
    """The signed-in caller; `expiresAt` in epoch milliseconds."""

    id: str
    roles: list[str]
    expiresAt: int  # noqa: N815 the name on the wire
    clientId: str | None  # noqa: N815
    seesPersonalData: bool  # noqa: N815


@router.get("/api/session", operation_id="session", summary="Who I am, roles, until when")
async def session(principal: Caller) -> Session:
    return Session(
        id=principal.id,
        roles=sorted(principal.roles),
        expiresAt=principal.expires_at,
        clientId=principal.client_id,
        seesPersonalData=sees_personal(principal),
    )
