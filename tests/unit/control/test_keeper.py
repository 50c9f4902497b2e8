"""Memory, store and snapshot agree, whoever stops waiting."""

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

from sidecar.control import documents
from sidecar.control.keeper import Keeper
from sidecar.delivery import Origin
from sidecar.store import Store

DOCUMENT = """
apiVersion: canary.dev/v1
kind: Rollout
metadata: {name: chat}
spec:
  unit: [{header: x-user-id}]
  variants: [{name: stable, weight: 95}, {name: canary, weight: 5}]
"""
ORIGIN = Origin(datetime(2026, 1, 1, tzinfo=UTC), "test")


class HeldStore(Store):
    """Says when a commit begins, and waits to be let go."""

    def __init__(self, path):
        super().__init__(path)
        self.begun, self.go = threading.Event(), threading.Event()

    def commit(self, changes):
        self.begun.set()
        assert self.go.wait(10)
        super().commit(changes)


def test_a_caller_that_gives_up_during_the_commit_leaves_memory_and_store_in_step(tmp_path):
    (tmp_path / "chat.yaml").write_text(DOCUMENT)
    store, published = HeldStore(tmp_path / "db"), []

    async def scenario(writer):
        loop = asyncio.get_running_loop()
        keeper = Keeper(store, published.append, functools.partial(loop.run_in_executor, writer))
        store.go.set()
        await keeper.adopt(documents.scan(tmp_path))
        store.begun.clear()
        store.go.clear()
        half = {"canary": Decimal(50)}
        asked = asyncio.create_task(keeper.set_weights("chat", half, ORIGIN, None))
        await asyncio.to_thread(store.begun.wait, 10)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        store.go.set()
        after = await keeper.set_weights("chat", {"canary": Decimal(10)}, ORIGIN, 2)
        return after.before.in_force, keeper.states

    with ThreadPoolExecutor(1) as writer:
        before, states = asyncio.run(scenario(writer))
    assert before == {"stable": Decimal(50), "canary": Decimal(50)}
    assert store.states() == states
    assert len(published) == 3
    store.close()


def test_until_the_folder_was_faultless_once_nothing_but_the_retired_is_withdrawn(tmp_path, caplog):
    """And not later either: the next process knows what the first did, and no more."""
    chat, other = tmp_path / "chat.yaml", tmp_path / "other.yaml"
    chat.write_text(DOCUMENT)
    other.write_text("not yet")

    async def started(steps):
        published = []

        async def at_once(call):
            return call()

        keeper = Keeper(Store(tmp_path / "db"), published.append, at_once)
        for step in steps:
            step()
            await keeper.adopt(documents.scan(tmp_path))
        keeper._store.close()
        return [(sorted(one.versions), one.withdrawn) for one in published]

    def mend():
        other.write_text(DOCUMENT.replace("chat", "other"))

    assert asyncio.run(started([lambda: None])) == [(["chat"], frozenset())]
    assert asyncio.run(started([lambda: None, mend])) == [
        (["chat"], frozenset()),
        (["chat", "other"], None),
    ]
    chat.unlink()
    assert asyncio.run(started([lambda: None])) == [(["other"], None)]
    other.write_text("not now")
    assert asyncio.run(started([lambda: None])) == [(["other"], frozenset({"chat"}))]
    said = [one.until for one in caplog.records if one.message.startswith("nothing is withdrawn")]
    assert len(said) == 3


def test_a_document_that_moves_people_is_taken_and_says_why(tmp_path, caplog):
    async def scenario():
        async def at_once(call):
            return call()

        keeper = Keeper(Store(tmp_path / "db"), lambda _: None, at_once)
        for text in (DOCUMENT, DOCUMENT.replace("x-user-id", "x-account")):
            (tmp_path / "chat.yaml").write_text(text)
            await keeper.adopt(documents.scan(tmp_path))
        keeper._store.close()

    asyncio.run(scenario())
    [said] = [record for record in caplog.records if record.message == "people move"]
    assert (said.rollout, "unit" in said.because) == ("chat", True)
