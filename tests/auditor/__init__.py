"""An independent check of what is in Kafka and in the external ledgers.

It shares no code with the product: own decoding, transition table, hashing and ids. It knows only
the published Avro schemas and topic names.
"""

from tests.auditor.auditor import audit
from tests.auditor.evidence import Evidence, Record, Report, Violation, read_kafka

__all__ = ["Evidence", "Record", "Report", "Violation", "audit", "read_kafka"]
