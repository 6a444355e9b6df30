"""`npp demo`: the whole product on one machine, under a load with faults, with proof.

stage        what runs: Kafka, registry, and the programs as child processes; tokens
programs     those programs: simulators, processors, API, publisher; ports and environment
trial        Kafka, registry and simulators alone, for the product started by hand
watcher      what Kafka says while it runs
people       operators who request, approve, cancel, retry and resolve
operator_calls  the API as they use it, a few calls at a time
prometheus   Prometheus and Alertmanager, where they are installed
chaos        kill -9 at random
shell        what a shell of yours needs to work with it
table        what is shown meanwhile
account      what is true at the end, measured again from Kafka and the simulators' ledgers
api_account  what the API says at the end, compared with Kafka
"""

from __future__ import annotations

from app.demo.options import Options
from app.demo.run import run_demo

__all__ = ["Options", "run_demo"]
