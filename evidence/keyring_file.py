"""The verifier's keyring from its file: read again when the file changes."""

from __future__ import annotations

import threading
from pathlib import Path

from control.acts.key_file import KeyFileError
from evidence.keys import Keyring, ListedKey, SchemaStatement, read_keyring

Stamp = tuple[int, int, int]


class LiveKeyring:
    """Safe for many threads. A missing file is an empty keyring. Raises KeyFileError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._keyring = Keyring()

    def now(self) -> Keyring:
        """The keyring in the file, which is read again if it has changed."""
        with self._lock:
            stamp = self._stat()
            if stamp != self._stamp:
                self._keyring = read_keyring(self._path)
                self._stamp = stamp
            return self._keyring

    def listed(self) -> tuple[ListedKey, ...]:
        """All public keys, the oldest first."""
        return self.now().listed()

    def schemas(self) -> tuple[SchemaStatement, ...]:
        """The keys' signed statements of what schema ids mean."""
        return self.now().schemas()

    def not_ready(self) -> str | None:
        """Why no pack can be verified with it, or None."""
        try:
            if self.listed():
                return None
        except KeyFileError as error:
            return f"the verifier's keyring cannot be read: {error}"
        return (
            f"the verifier's keyring is not here ({self._path}): no pack can be verified. "
            "NPP_KEYRING names the file that the verifier writes"
        )

    def _stat(self) -> Stamp | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
