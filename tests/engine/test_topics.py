"""Access rules from what a principal produces and consumes."""

from __future__ import annotations

from engine.topics import Access, AclSpec, access_rules


def test_access_rules_give_each_principal_what_it_must_do_and_nothing_else() -> None:
    """Least rights, from what it produces, consumes and is called."""
    rules = access_rules(
        [
            Access(
                "payments",
                produces=("events",),
                consumes=("commands",),
                groups=("npp-payments",),
                transactional_ids=("npp-payments-",),
            )
        ]
    )
    assert AclSpec("payments", "topic", "events", "WRITE") in rules
    assert AclSpec("payments", "topic", "events", "READ") not in rules
    assert AclSpec("payments", "topic", "commands", "READ") in rules
    assert AclSpec("payments", "transactional_id", "npp-payments-", "WRITE", True) in rules
    assert {r.principal for r in rules} == {"payments"}
    assert not any(r.name == "*" for r in rules)
