"""What survives a restart, and what is refused."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from launch_lab import GUARDED, Launch, origin

from sidecar import delivery, rollout
from sidecar.delivery import Command, Document, Origin, Tick
from sidecar.store import Store, StoreError, database, rows

TEXT = """
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  match: {hosts: [chat.example.com], pathPrefix: /v1}
  unit: [{header: x-user-id}, {clientAddress: true}]
  variants: [{name: stable, weight: 94.50}, {name: canary, weight: 5.5, cluster: c}]
"""
FIRST = Origin(datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=UTC), "folder", "declared")
SECOND = Origin(datetime(2026, 11, 23, 9, tzinfo=UTC), "ann", "looks 'good' — ✓")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "controller.sqlite"


def changes():
    one = rollout.read([rollout.Source("chat.yaml", TEXT.encode())]).declared[0].rollout
    first = delivery.adopt(None, Document(one, rollout.generation(one), "chat.yaml"), FIRST)
    second = delivery.set_weights(first.state, {"canary": Decimal("12.500")}, SECOND)
    third = delivery.retire(second.state, FIRST)
    return [first, second, third]


def test_a_reopened_store_gives_back_exactly_what_was_committed(path):
    made = changes()
    store = Store(path)
    for change in made:
        store.commit([change])
    store.close()
    again = Store(path)
    assert again.states() == {"chat": made[-1].state}
    assert str(again.states()["chat"].in_force["canary"]) == "12.5"
    assert again.events("chat") == [change.event for change in made]
    assert again.last_events() == {"chat": made[-1].event}
    again.close()


def test_a_killed_process_loses_nothing_that_was_committed(path, tmp_path):
    store = Store(path)
    store.commit(changes()[:1])
    # What a kill leaves behind: the files as they are, nobody having closed anything.
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    survived = Store(copy / path.name)
    assert survived.states() == {"chat": changes()[0].state}
    survived.close()
    store.close()


def test_state_and_event_are_written_both_or_neither(path):
    store = Store(path)
    first, second, _ = changes()
    store.commit([first])
    # The second change of this commit repeats a revision: its event cannot be written.
    repeated = replace(second, event=first.event)
    with pytest.raises(StoreError):
        store.commit([second, repeated])
    assert store.states() == {"chat": first.state}
    assert store.events("chat") == [first.event]
    store.commit([second])
    assert store.states() == {"chat": second.state}
    store.close()


def test_a_full_disk_is_an_error_and_changes_nothing(path):
    store = Store(path)
    first, second, _ = changes()
    store.commit([first])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    long = replace(second, event=replace(second.event, origin=replace(SECOND, why="x" * 100_000)))
    with pytest.raises(StoreError, match="full"):
        store.commit([long])
    assert store.states() == {"chat": first.state}
    store.close()


def test_events_can_be_neither_changed_nor_deleted(path):
    store = Store(path)
    store.commit(changes())
    for statement in ("UPDATE events SET who = 'nobody'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store._db.execute(statement)
    store.close()


def test_a_commit_is_on_disk_when_it_returns(path):
    store = Store(path)
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    store.close()


def test_a_second_controller_is_told_who_holds_the_file(path):
    store = Store(path)
    with pytest.raises(StoreError, match="is locked: another controller") as refused:
        Store(path)
    assert str(path) in str(refused.value)
    assert "--state-dir" in refused.value.remedy
    store.close()
    Store(path).close()


def test_somebody_elses_database_is_refused_and_left_alone(path):
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (a)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not one of canary's") as refused:
        Store(path)
    assert refused.value.remedy
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path):
    store = Store(path)
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match="newer release"):
        Store(path)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "torn"])
def test_a_damaged_file_is_named(path, damage):
    store = Store(path)
    store.commit(changes())
    store.close()
    whole = path.read_bytes()
    broken = {
        "garbage": b"not a database at all" * 100,
        "truncated": whole[: len(whole) // 2],
        "torn": whole[:4096] + b"\xff" * (len(whole) - 4096),
    }[damage]
    path.write_bytes(broken)
    with pytest.raises(StoreError) as refused, closing(Store(path)) as store:
        store.states()
    assert str(path) in str(refused.value)
    assert refused.value.remedy


def test_a_row_that_makes_no_sense_is_named(path):
    store = Store(path)
    store.commit(changes())
    store._db.execute("""UPDATE states SET in_force = '{"stable": "many"}'""")
    with pytest.raises(StoreError, match="damaged"):
        store.states()
    store.close()


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(blocked / "controller.sqlite")


def test_a_launch_survives_to_the_microsecond_with_its_evidence(path):
    launch = Launch(*GUARDED, "relaunch: refresh", "notifications: [{webhook: 'http://h/x'}]")
    first = delivery.adopt(None, launch.state.document, FIRST)
    changes = [first]
    for moment, given_ in ((1.0000001, Tick()), (2, Command.PAUSE), (3, Command.ABORT)):
        change = delivery.handle(changes[-1].state, given_, origin(moment))
        changes += [change] if change else []
    store = Store(path)
    store.commit(changes)
    store.close()
    again = Store(path)
    assert again.states()["chat"] == changes[-1].state
    assert again.events("chat") == [change.event for change in changes]
    assert again.events("chat", 2) == [change.event for change in changes[-2:]]
    again.close()


def test_a_file_of_the_first_release_is_brought_up_to_date_with_everything_in_it(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            database._SCHEMA
            + f"PRAGMA application_id = {database.APPLICATION_ID}; PRAGMA user_version = 1;"
        )
        state, event = rows.of_state(changes()[0].state), rows.of_event(changes()[0].event)
        for table, row in (("states", state), ("events", event)):
            known = {column[1] for column in db.execute(f"PRAGMA table_info({table})")}
            kept = {name: value for name, value in row.items() if name in known}
            names, places = ", ".join(kept), ", ".join(f":{name}" for name in kept)
            db.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", kept)
        db.commit()
    store = Store(path)
    assert store.states() == {"chat": changes()[0].state}
    assert store.events("chat") == [changes()[0].event]
    store.commit(changes()[1:])
    assert store.states() == {"chat": changes()[-1].state}
    store.close()
