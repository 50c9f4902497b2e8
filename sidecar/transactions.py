"""All of a change, or nothing of it: the one way in which anybody here writes to SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what happens inside; whatever goes wrong, none of it happened."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself (a full disk).
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
