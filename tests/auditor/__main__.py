"""python -m tests.auditor --bootstrap HOST:PORT --registry URL [--rail-ledger URL] [...]"""

from __future__ import annotations

import argparse
import json
import sys

from tests.auditor import audit, read_kafka


def main() -> int:
    """Exit 0 without a violation, 1 with any; one line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.auditor", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--rail-ledger", help="URL of the rail simulator's ledger")
    parser.add_argument("--deposits-ledger", help="URL of the deposits simulator's ledger")
    parser.add_argument("--key", action="append", default=[], help="KEYID=hex of a public key")
    parser.add_argument("--running", action="store_true", help="inputs may be waiting still")
    given = parser.parse_args()
    keys = {name: bytes.fromhex(raw) for name, _, raw in (k.partition("=") for k in given.key)}
    evidence = read_kafka(
        given.bootstrap, given.registry, rail_ledger=given.rail_ledger,
        deposits_ledger=given.deposits_ledger, keys=keys,
    )  # fmt: skip
    report = audit(evidence, drained=not given.running)
    print(json.dumps(report.counters))
    print(report.text(most=1_000))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
