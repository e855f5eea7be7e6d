"""Run the migrations on the connection that ``flows.store.schema`` hands over.

Its transaction is the caller's: a schema is changed wholly or not at all.
"""

from alembic import context

from flows.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
)
context.run_migrations()
