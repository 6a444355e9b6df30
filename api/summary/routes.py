"""The dashboard's figures."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from api.auth.guard import router as guarded
from api.edge.params import gives, in_thread, json_answer
from api.summary.figures import Summary, SummaryView

router = guarded()


@router.get(
    "/api/summary",
    operation_id="summary",
    summary="Counts, queues, throughput, rates and the read model's delay",
    **gives(SummaryView),
)
async def summary(request: Request) -> Response:
    """At most a second old."""
    figures: Summary = request.app.state.summary
    return json_answer(await in_thread(figures.get))
