"""An independent judge of what is in Kafka and in the outside's ledgers.

Shares no code with the product: own decoding, own transition table, own hashing, own ids. It knows
only the published Avro schemas and topic names.
"""

from tests.auditor.auditor import audit
from tests.auditor.evidence import Evidence, Record, Report, Violation, read_kafka

__all__ = ["Evidence", "Record", "Report", "Violation", "audit", "read_kafka"]
