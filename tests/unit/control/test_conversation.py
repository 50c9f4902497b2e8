"""The controller's side of a stream, message by message."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from sidecar.control import envelopes, following
from sidecar.control.conversation import MAX_UNDER_WAY, Conversation, ProtocolError
from sidecar.control.envelopes import Request
from sidecar.control.following import NOTHING
from sidecar.control.snapshot import Holding, Resource, Snapshot
from sidecar.routing import Route, UnitSource, Variant

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def snapshot(**canaries):
    return Snapshot(
        Resource.of(
            Route(
                name=name,
                unit=(UnitSource("header", "x-user-id"),),
                salt=name.encode(),
                variants=(Variant("stable", 100), Variant("canary", weight)),
            )
        )
        for name, weight in canaries.items()
    )


def opened(**held):
    talk = Conversation(NOW)
    talk.receive(Request(node="edge", subscribe=("*",), held=held), NOW)
    return talk


def told(talk, what):
    data = talk.respond(what)
    return envelopes.unpack_response(data) if data else None


def names(response):
    return [name for name, *_ in response.resources]


def test_nothing_is_said_before_the_sidecar_spoke():
    assert Conversation(NOW).respond(snapshot(chat=5)) is None


def test_a_newcomer_is_told_everything():
    response = told(opened(), snapshot(chat=5, shop=1))
    assert sorted(names(response)) == ["chat", "shop"]
    assert response.nonce


def test_who_cannot_tell_what_is_gone_takes_back_only_what_is_surely_gone():
    held = snapshot(chat=5, shop=1, old=1)
    talk = opened(**held.versions)
    unsure = Snapshot(snapshot(chat=9).resources.values(), frozenset({"old"}))
    response = told(talk, unsure)
    assert (names(response), response.removed) == (["chat"], ("old",))
    merged = {**unsure.versions, "shop": held.versions["shop"]}
    assert response.table_version == Holding(merged).version
    talk.receive(Request(nonce=response.nonce), NOW)
    assert (talk.acked_version, talk.kept) == (unsure.version, 1)
    assert told(talk, unsure) is None
    response = told(talk, snapshot(chat=9))
    assert (names(response), response.removed) == ([], ("shop",))
    talk.receive(Request(nonce=response.nonce), NOW)
    assert talk.kept == 0


def test_a_sidecar_that_has_everything_is_greeted_with_no_resource_once():
    now = snapshot(chat=5)
    talk = opened(**now.versions)
    greeting = told(talk, now)
    assert (tuple(greeting.resources), greeting.removed) == ((), ())
    assert greeting.table_version == now.version
    assert told(talk, now) is None


def test_only_the_difference_is_told():
    talk = opened()
    told(talk, snapshot(chat=5, shop=1))
    response = told(talk, snapshot(chat=6))
    assert (names(response), response.removed) == (["chat"], ("shop",))


def test_what_a_resuming_sidecar_holds_too_much_is_removed():
    response = told(opened(old="1"), snapshot())
    assert response.removed == ("old",)


def test_two_steps_may_be_under_way_and_then_the_newest_waits():
    talk = opened()
    first = told(talk, snapshot(chat=1))
    assert told(talk, snapshot(chat=2))
    assert MAX_UNDER_WAY == 2
    assert told(talk, snapshot(chat=3)) is None
    talk.receive(Request(nonce=first.nonce), NOW)
    assert told(talk, snapshot(chat=4)).table_version == snapshot(chat=4).version


def test_an_ack_confirms_its_step_and_those_before():
    talk = opened()
    told(talk, snapshot(chat=1))
    second = told(talk, snapshot(chat=2))
    talk.receive(Request(nonce=second.nonce), NOW + timedelta(seconds=1))
    assert talk.acked_version == snapshot(chat=2).version
    assert talk.acked_at == NOW + timedelta(seconds=1)
    assert told(talk, snapshot(chat=3))
    assert told(talk, snapshot(chat=4))


def test_after_a_nack_the_same_content_is_not_sent_again():
    talk = opened()
    bad = snapshot(chat=1)
    response = told(talk, bad)
    talk.receive(Request(nonce=response.nonce, refusal="no"), NOW)
    assert talk.last_nack.reason == "no"
    assert talk.last_nack.version == bad.version
    assert talk.acked_version == ""
    assert told(talk, snapshot(chat=1)) is None
    assert told(talk, snapshot(chat=2))


def test_a_nack_takes_back_the_step_and_all_that_were_built_on_it():
    talk = opened()
    good = told(talk, snapshot(chat=1, shop=1))
    talk.receive(Request(nonce=good.nonce), NOW)
    refused = told(talk, snapshot(chat=2, shop=1))
    later = told(talk, snapshot(chat=2, shop=2))
    talk.receive(Request(nonce=refused.nonce, refusal="no"), NOW)
    talk.receive(Request(nonce=later.nonce, refusal="out of step"), NOW)
    assert talk.last_nack.reason == "no"
    assert sorted(names(told(talk, snapshot(chat=2, shop=2)))) == ["chat", "shop"]


def test_a_step_that_replaced_all_that_was_refused_is_known_to_have_happened():
    talk = opened()
    refused, replacing = told(talk, snapshot(chat=1)), told(talk, snapshot(chat=2))
    talk.receive(Request(nonce=refused.nonce, refusal="no"), NOW)
    assert told(talk, snapshot(shop=1)) is None
    talk.receive(Request(nonce=replacing.nonce), NOW)
    assert talk.acked_version == snapshot(chat=2).version
    after = told(talk, snapshot(shop=1))
    assert (names(after), after.removed) == (["shop"], ("chat",))


def test_stale_unknown_and_repeated_nonces_are_ignored():
    talk = opened()
    first = told(talk, snapshot(chat=1))
    talk.receive(Request(nonce=first.nonce), NOW)
    for nonce in (first.nonce, "77", ""):
        talk.receive(Request(nonce=nonce, refusal="late"), NOW)
    assert talk.last_nack is None
    assert talk.acked_version == snapshot(chat=1).version


def test_something_else_than_all_rollouts_is_refused():
    with pytest.raises(ProtocolError, match=r"not type\.googleapis\.com/other"):
        Conversation(NOW).receive(Request(type_url="type.googleapis.com/other"), NOW)
    with pytest.raises(ProtocolError, match="subscribe to everything"):
        Conversation(NOW).receive(Request(subscribe=("chat",)), NOW)


SNAPSHOTS = [snapshot(), *(snapshot(a=a, b=b) for a in (1, 2) for b in (1, 2)), snapshot(a=1)]


class Dialogue(RuleBasedStateMachine):
    """Both sides without I/O, whatever the order: whole tables only, and they agree in the end."""

    nonces = Bundle("nonces")

    def __init__(self):
        super().__init__()
        self.held = NOTHING
        self.now = SNAPSHOTS[0]
        self.refusing = None
        self.on_the_wire = []
        self.reconnect()

    @rule()
    def reconnect(self):
        self.talk = opened(**self.held.versions)
        self.on_the_wire.clear()

    @rule(now=st.sampled_from(SNAPSHOTS))
    def publish(self, now):
        self.now = now

    @rule(refusing=st.sampled_from([None, *SNAPSHOTS]))
    def refuse(self, refusing):
        self.refusing = refusing

    @rule()
    def send(self):
        data = self.talk.respond(self.now)
        if data:
            self.on_the_wire.append(envelopes.unpack_response(data))

    @rule()
    def take(self):
        if self.on_the_wire:
            response = self.on_the_wire.pop(0)
            self.talk.receive(self.answer(response), NOW)

    @rule(nonce=st.sampled_from(["", "0", "1", "2", "x"]))
    def repeat_an_old_nonce(self, nonce):
        if nonce not in [r.nonce for r in self.on_the_wire]:
            self.talk.receive(Request(nonce=nonce, refusal="stale"), NOW)

    def answer(self, response):
        try:
            after = following.step(self.held, response)
        except following.OutOfStepError as error:
            return Request(nonce=response.nonce, refusal=str(error))
        if self.refusing and after.version == self.refusing.version:
            return Request(nonce=response.nonce, refusal="refused")
        self.held = after
        return Request(nonce=response.nonce)

    @invariant()
    def what_is_held_is_always_a_whole_snapshot(self):
        assert self.held.version in {s.version for s in SNAPSHOTS}

    def teardown(self):
        self.refusing = None
        for final in (snapshot(final=1), self.now):
            self.now = final
            for _ in range(8):
                self.send()
                self.take()
            assert self.held.version == final.version
            assert self.talk.acked_version == final.version


TestDialogue = Dialogue.TestCase


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_a_value_error(data):
    for unpack in (envelopes.unpack_request, envelopes.unpack_response):
        with suppress(ValueError):
            unpack(data)
