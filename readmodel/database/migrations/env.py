"""Run by Alembic for each upgrade: on the connection that `migrate` hands over, in its transaction.

To write a revision: change `tables.py`, add a file to `versions/` that does the same, and let
`tests/readmodel/database/test_migrations.py` compare the two.
"""

from alembic import context

from readmodel.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
