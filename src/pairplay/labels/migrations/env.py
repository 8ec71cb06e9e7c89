"""Alembic runs this file. The store hands it an open transaction, so a migration happens wholly or not at all."""

from alembic import context

from pairplay.labels.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
