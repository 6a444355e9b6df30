"""Scripts, styles and pictures: our own, and the libraries that `app.platform.fetch` unpacked.

Read once at the start. An address contains the content's hash, so browsers can cache it forever.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from web.site import WebRoute

ASSETS: Final = Path(__file__).with_name("assets")
LIBRARIES: Final = {
    "chart.js": "chart.js/dist/chart.umd.js",
    "htmx.js": "htmx.org/dist/htmx.min.js",
    "sse.js": "htmx-ext-sse/sse.js",
}
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HASH_CHARACTERS: Final = 12
KEEP: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    media_type: str
    content: bytes
    packed: bytes
    address: str


class Static:
    """All assets by name, in memory: about a megabyte."""

    def __init__(self, libraries: Path) -> None:
        """Raises OSError when a library is missing: `make fetch` downloads them."""
        files = {file.name: file for file in sorted(ASSETS.iterdir()) if file.suffix in TYPES}
        files |= {name: libraries / inside for name, inside in LIBRARIES.items()}
        self._assets = {name: _asset(name, file.read_bytes()) for name, file in files.items()}

    def address(self, name: str) -> str:
        """The address of an asset. Raises KeyError for an unknown name."""
        return self._assets[name].address

    def route(self) -> WebRoute:
        return WebRoute("/static/{hash}/{name}", self._serve, methods=["GET"], name="static")

    async def _serve(self, request: Request) -> Response:
        found = self._assets.get(request.path_params["name"])
        if found is None or found.address != request.url.path:
            return Response("There is nothing at this address.", 404, media_type="text/plain")
        headers = {"cache-control": KEEP, "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(found.packed, headers=headers, media_type=found.media_type)
        return Response(found.content, headers=headers, media_type=found.media_type)


def _asset(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]
    return Asset(
        TYPES[Path(name).suffix],
        content,
        gzip.compress(content, mtime=0),
        f"/static/{digest}/{name}",
    )
