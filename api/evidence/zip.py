"""Several packs in one zip with an index. The same packs give the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
from types import TracebackType
from typing import IO, Any, Final

from evidence.verify_evidence import canonical

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # a fixed time: the same packs give the same bytes
README: Final = (
    "Each .json is a proof by itself: python verify_evidence.py FILE KEY. The .pdf files are for "
    "reading; each prints the SHA-256 of its JSON and carries it as an attachment.\n"
)


class Writer:
    """Use as a context manager; the index is written at its end."""

    def __init__(self, file: IO[bytes], reference: str) -> None:
        self.packs: list[tuple[str, str, str]] = []  # payment, asOf, SHA-256
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self._reference = reference
        self._index: list[dict[str, Any]] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            index = {"reference": self._reference, "packs": self._index}
            self._write("index.json", canonical(index))
            self._write("README.txt", README.encode())
        self._zip.close()

    def add(
        self, payment: str, as_of: str, pack: bytes, pdf: bytes | None, proven: dict[str, Any]
    ) -> None:
        """A pack that was verified, and its PDF where it is wanted."""
        digest = hashlib.sha256(pack).hexdigest()
        files = {f"evidence_pack_{payment}.json": pack}
        if pdf is not None:
            files[f"evidence_pack_{payment}.pdf"] = pdf
        for name, content in files.items():
            self._write(name, content)
        self.packs.append((payment, as_of, digest))
        self._index.append(
            {
                "paymentIntentId": payment, "asOf": as_of, "sha256": digest,
                "files": sorted(files), "verified": proven["verified"],
                "through": proven.get("through"), "unsigned": proven.get("unsigned"),
                "events": proven.get("events"),
            }
        )  # fmt: skip

    def _write(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        self._zip.writestr(entry, content)
