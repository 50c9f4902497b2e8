"""Webhooks against real servers on loopback: yes, no, silence, rubbish, and never a secret told."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import pytest
from aiohttp import web as aio
from launch_lab import GUARDED, START, Launch, origin

from sidecar import delivery
from sidecar.delivery import Command, Tick, Verdict
from sidecar.store import Store
from sidecar.web import Notifier, Webhooks

SECRET = "T0K3N"


class Listener:
    """A server that answers as told and remembers what it was sent."""

    def __init__(self) -> None:
        self.got = []
        self.answers = {}
        self.never = asyncio.Event()

    async def handle(self, request):
        path = request.path
        self.got.append((path, json.loads(await request.text())))
        answer = self.answers.get(path, (200, "ok"))
        if callable(answer):
            answer = answer()
        if answer is None:
            await self.never.wait()
        status, said, *headers = answer
        return aio.Response(status=status, text=said, headers=headers[0] if headers else {})

    @asynccontextmanager
    async def serving(self):
        app = aio.Application()
        app.router.add_post("/{tail:.*}", self.handle)
        runner = aio.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await aio.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        hooks = Webhooks()
        try:
            yield hooks
        finally:
            await hooks.close()
            self.never.set()
            await runner.cleanup()


def listening(scenario):
    async def whole():
        listener = Listener()
        async with listener.serving() as hooks:
            return await scenario(listener, hooks)

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("answer", "passed", "said"),
    [
        ((200, "go ahead"), True, "127.0.0.1 answered 200: go ahead"),
        ((204, ""), True, "127.0.0.1 answered 204"),
        ((403, "tests\nare\x00 red"), False, "127.0.0.1 answered 403: tests are red"),
        ((302, "", {"Location": "http://127.0.0.1:1/"}), False, "127.0.0.1 answered 302"),
        ((500, "x" * 10_000), False, "127.0.0.1 answered 500: " + "x" * 300),
        (None, False, "127.0.0.1 did not answer within 0.05 s"),
    ],
    ids=str,
)
def test_a_gate_says_yes_by_2xx_alone_and_everything_else_is_a_no_in_words(answer, passed, said):
    async def scenario(listener, hooks):
        listener.answers["/gate"] = answer
        timeout_s = 0.05 if answer is None else 10
        return await hooks.ask(f"{listener.url}/gate?key={SECRET}", timeout_s, {"step": 2})

    assert listening(scenario) == (passed, said)


def test_a_gate_that_is_not_there_is_a_no_that_does_not_tell_its_address():
    async def scenario(listener, hooks):
        return await hooks.ask(f"http://127.0.0.1:1/{SECRET}", 5, {})

    passed, said = listening(scenario)
    assert not passed
    assert "127.0.0.1 cannot be asked: Connect" in said
    assert SECRET not in said


def moves(launch, *inputs):
    """What a controller would observe: pairs of the state before and the change."""
    for minute, given in enumerate(inputs):
        before = launch.state
        if isinstance(given, Verdict):
            given_ = Tick(launch.word(minute, given, 10**6, sentence="as measured"))
        else:
            given_ = given
        change = launch.give(given_, minute)
        if change:
            yield before, change


def hooked(*urls, file=None):
    targets = [f"{{webhook: '{url}'}}" for url in urls]
    targets += [f"{{webhookFile: {file}}}"] if file else []
    return Launch(*GUARDED, f"notifications: [{', '.join(targets)}]")


def test_every_change_of_phase_is_told_in_order_as_slack_takes_it(tmp_path):
    async def scenario(listener, hooks):
        (tmp_path / "url").write_text(f"{listener.url}/{SECRET}\n")
        launch = hooked(f"{listener.url}/open", file=tmp_path / "url")
        notifier = Notifier(hooks.ask)
        for before, change in moves(launch, Tick(), Command.PAUSE, Command.RESUME, Verdict.HARMFUL):
            notifier.tell(before, change)
        await notifier.idle()
        return listener.got

    got = listening(scenario)
    told = {path: [body for at, body in got if at == path] for path, _ in got}
    assert set(told) == {"/open", f"/{SECRET}"}
    assert told["/open"] == told[f"/{SECRET}"]
    assert all(set(body) == {"text"} for body in told["/open"])
    assert [body["text"].split(" (")[0] for body in told["/open"]] == [
        "chat: Pending -> Running",
        "chat: Running -> Paused",
        "chat: Paused -> Running",
        "chat: Running -> RolledBack",
    ]
    assert told["/open"][-1]["text"].endswith("RolledBack by ann: as measured")


def test_what_a_killed_controller_did_not_tell_the_next_one_does(tmp_path):
    """The first one dies between the commit and the answer of the webhook."""

    async def scenario(listener, hooks):
        launch = hooked(f"{listener.url}/open")
        store = Store(tmp_path / "db.sqlite")
        declared = delivery.adopt(None, launch.state.document, origin(0))
        store.commit([declared])

        async def mark(rollout, revision):
            store.mark_told(rollout, revision)

        first = Notifier(hooks.ask, mark)
        for number, (before, change) in enumerate(moves(launch, Tick(), Command.PAUSE)):
            store.commit([change])
            if number:
                listener.answers["/open"] = None
            first.tell(before, change)
            while len(listener.got) <= number:
                await asyncio.sleep(0)
            if not number:
                await first.idle()
        await first.close()
        listener.answers.clear()
        store.close()
        store = Store(tmp_path / "db.sqlite")
        second = Notifier(hooks.ask, mark)
        second.catch_up(store.untold(START), store.states())
        await second.idle()
        told = [body["text"].split(" (")[0] for _, body in listener.got]
        assert store.untold(START) == []
        store.close()
        return told

    told = listening(scenario)
    assert told == ["chat: Pending -> Running", "chat: Running -> Paused", "chat: Paused"]


def test_a_hanging_address_holds_up_no_other_and_a_failing_one_is_tried_again(caplog):
    rested = []

    async def rest(delay_s):
        rested.append(delay_s)

    async def scenario(listener, hooks):
        failures = iter([(503, "busy"), (503, "busy")])
        listener.answers["/flaky"] = lambda: next(failures, (200, "ok"))
        listener.answers["/hanging"] = None
        launch = hooked(f"{listener.url}/hanging", f"{listener.url}/flaky")
        notifier = Notifier(hooks.ask, rest=rest)
        for before, change in moves(launch, Tick(), Command.ABORT):
            notifier.tell(before, change)
        while len([1 for path, _ in listener.got if path == "/flaky"]) < 4:
            await asyncio.sleep(0)
        await notifier.close()
        return [body["text"] for path, body in listener.got if path == "/flaky"]

    texts = listening(scenario)
    assert [one.split(" (")[0] for one in texts] == [
        *["chat: Pending -> Running"] * 3,
        "chat: Running -> RolledBack",
    ]
    assert rested == [1.0, 5.0]


@pytest.mark.parametrize("holds", [None, "", f"not an address {SECRET}", f"ftp://{SECRET}"])
def test_a_line_that_cannot_be_sent_is_given_up_with_a_word_but_no_secret(tmp_path, caplog, holds):
    if holds is not None:
        (tmp_path / "url").write_text(holds)

    async def rest(delay_s):
        pass

    async def scenario(listener, hooks):
        launch = hooked(file=tmp_path / "url")
        notifier = Notifier(hooks.ask, rest=rest)
        for before, change in moves(launch, Tick()):
            notifier.tell(before, change)
        await notifier.idle()

    with caplog.at_level(logging.WARNING):
        listening(scenario)
    [said] = [record for record in caplog.records if record.message == "notification given up"]
    assert said.error.startswith(f"{tmp_path}/url: ")
    assert SECRET not in caplog.text + said.error
