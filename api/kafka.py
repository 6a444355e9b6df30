"""Builds the services of the routes on Kafka and a read model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

from api.actions.commands import KafkaCommands
from api.actions.journal import KafkaJournal
from api.actions.outcome_tail import OutcomeTail
from api.audit.writer import KafkaAudit
from api.services import Services
from api.summary.proofs import ProofWatch
from control.current import ControlFold
from control.fold import Control
from engine.clients.control_reader import ControlReader
from engine.clients.partition_errors import PartitionErrors
from engine.clients.publisher import Publisher
from engine.clients.reader import LogEnds
from engine.clock import Clock
from engine.tracing import Tracer
from evidence.keyring_file import LiveKeyring
from evidence.log import KafkaEvidenceLog
from evidence.packs.service import PackService
from readmodel.ports import Reader
from schemas import topology
from schemas.codec import Codec
from schemas.codec.written import WrittenSchemas

CLIENT_ID: Final = "npp-api"


def services_on_kafka(
    closing: ExitStack,
    *,
    connection: Mapping[str, Any],
    ends: LogEnds,
    counts: Mapping[str, int],
    errors: PartitionErrors,
    control: Control,
    codec: Codec,
    schemas: WrittenSchemas,
    clock: Clock,
    reader: Reader,
    reads_on_loop: bool,
    keyring: LiveKeyring,
    sources: dict[str, str],
    tracer: Tracer | None = None,
) -> tuple[Services, KafkaCommands, KafkaAudit]:
    """The services, and the two of them that the caller has to start; `closing` closes them.
    `counts`: partitions by topic. `control`: an empty fold, which they fill.
    """
    publisher = Publisher(connection, CLIENT_ID, clock)
    closing.callback(publisher.close)
    audit = KafkaAudit(
        publisher=publisher, codec=codec, clock=clock, partitions=counts[topology.AUDIT]
    )
    closing.callback(audit.close)
    commands = KafkaCommands(
        publisher=publisher,
        codec=codec,
        reader=reader,
        clock=clock,
        tail=OutcomeTail(connection, ends, codec, counts, errors),
        control=ControlFold(
            ControlReader(connection, topology.CONTROL, clock, errors), control, clock
        ),
        partitions=counts[topology.OPERATOR_COMMANDS],
        tracer=tracer,
    )
    closing.callback(commands.close)
    proofs = ProofWatch(ControlReader(connection, topology.PROOFS, clock), codec)
    proofs.start()
    closing.callback(proofs.close)
    services = Services(
        reader=reader,
        commands=commands,
        audit=audit,
        evidence=PackService(
            reader=reader,
            codec=codec,
            schemas=schemas,
            keyring=keyring.now,
            log=KafkaEvidenceLog(connection, clock),
        ),
        clock=clock,
        codec=codec,
        journal=KafkaJournal(connection, reader, codec, clock, counts[topology.EVENTS]),
        sources=sources,
        keyring=keyring,
        partitions=counts[topology.EVENTS],
        proofs=proofs,
        reads_on_loop=reads_on_loop,
    )
    return services, commands, audit
