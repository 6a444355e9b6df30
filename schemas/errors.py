"""The errors of reading and writing records, and of their schemas."""

from __future__ import annotations


class Undecodable(Exception):
    """These bytes can never be read: to quarantine. `reason` holds no content of the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unencodable(ValueError):
    """A record that does not fit its schema or its topic's limits: a defect in our code."""


class RegistryDown(Exception):
    """The schema registry does not answer: pause and try the same record again."""


class SchemaMismatch(Exception):
    """A struct and its .avsc differ; the sentence says where."""


class IdsChanged(Exception):
    """The registry's ids differ from ids.lock: the log would be read with wrong schemas."""
