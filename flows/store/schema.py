"""Open the store's file: for the one writer, with its schema brought up to date, or to read."""

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.pool import QueuePool

from flows.store import tables

_BUSY_SECONDS: Final = 30.0


class StoreError(RuntimeError):
    """The store cannot do what was asked; the sentence says what to do."""


def open_to_write(path: Path) -> Engine:
    """Open the file, create it where there is none, and migrate it.

    Raises
    ------
    StoreError
        If a newer Tapewatch wrote it, or if it is no SQLite file.
    """
    engine = _engine(partial(_connect_writer, path))
    event.listen(engine, "begin", _begin_immediate)
    try:
        with engine.begin() as connection:
            _migrate(connection, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_to_read(path: Path) -> Engine:
    """Open the file without locking, creating or migrating anything.

    Raises
    ------
    StoreError
        If there is no store, or its schema is not the one this version reads.
    """
    if not path.is_file():
        raise StoreError(
            f"There is no store at {path}. Run `tapewatch up` or `tapewatch replay` with this "
            "data folder first, or check --data."
        )
    engine = _engine(partial(_connect_reader, path))
    try:
        with engine.connect() as connection:
            _require_current(revision(connection), path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def revision(connection: Connection) -> str:
    """Return the schema's revision; empty where there is no schema yet."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def _engine(connect: partial[sqlite3.Connection]) -> Engine:
    return create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool)


def _connect_writer(path: Path) -> sqlite3.Connection:
    try:
        # isolation_level None: we say BEGIN ourselves, so that schema changes roll back too
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a snapshot must never outlive its rows
    except sqlite3.DatabaseError as error:
        raise StoreError(f"Cannot open the store {path}: {error}.") from error
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    # A copy on read-only media cannot take WAL's shared memory; nothing can change it either.
    log = path.with_name(path.name + "-wal")
    is_frozen = not os.access(path.parent, os.W_OK) and not log.exists()
    mode = "immutable=1" if is_frozen else "mode=ro"
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA query_only = 1")
    except sqlite3.DatabaseError as error:
        raise StoreError(f"Cannot read the store {path}: {error}.") from error
    return connection


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: Connection, path: Path) -> None:
    found = revision(connection)
    if found == tables.SCHEMA_REVISION:
        return
    if found > tables.SCHEMA_REVISION:
        _require_current(found, path)
    from alembic import command  # noqa: PLC0415  0.3 s to import, needed once in a store's life
    from alembic.config import Config  # noqa: PLC0415  same

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _require_current(found: str, path: Path) -> None:
    if found == tables.SCHEMA_REVISION:
        return
    if found > tables.SCHEMA_REVISION:
        raise StoreError(
            f"The store {path} has schema {found}, this Tapewatch knows {tables.SCHEMA_REVISION}: "
            "a newer version wrote it. Use that version, or another --data."
        )
    raise StoreError(
        f"The store {path} has schema {found or 'none'}, this Tapewatch reads "
        f"{tables.SCHEMA_REVISION}. Start `tapewatch up` or `tapewatch replay` once on this data "
        "folder to bring it up to date."
    )
