"""The dashboard's parts as HTML, by the name under which they are sent live."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from jinja2 import Environment

from engine.clock import MS_PER_S
from web.dashboard.live import behind_ms
from web.dashboard.picture import Picture

NAMES: Final = (
    *("tick", "strip", "incidents", "tiles", "states", "throughput", "hour", "failures", "retries"),
    *("rail", "attention", "approvals", "recent_actions"),
)


def panels(templates: Environment, picture: Picture) -> dict[str, str]:
    """Every part. One that has not changed is the same text, so that it is not sent again."""
    made_ms = int(datetime.fromisoformat(picture.summary.at).timestamp() * MS_PER_S)
    behind = behind_ms(picture.now_ms, made_ms, picture.summary.read_model.delay_ms)
    return {
        name: templates.get_template(f"parts/{name}.html").render(p=picture, behind=behind)
        for name in NAMES
    }
