"""The single source of the Grafana dashboards; `python -m tests.deploy.grafana` writes their files.

panels                              how a panel, a row and a dashboard become Grafana's JSON
parts                               panels and expressions that all of them use
operations, rail, engine, proof     the content of each
"""

from tests.deploy.grafana.engine import ENGINE
from tests.deploy.grafana.operations import OPERATIONS
from tests.deploy.grafana.proof import PROOF
from tests.deploy.grafana.rail import RAIL

DASHBOARDS = (OPERATIONS, RAIL, ENGINE, PROOF)
