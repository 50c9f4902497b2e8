"""The sidecar's side of a step: whole or not at all."""

import pytest

from sidecar.control import codec, envelopes, following
from sidecar.control.codec import TYPE_URL, ResourceError
from sidecar.control.envelopes import Response
from sidecar.control.following import NOTHING, OutOfStepError
from sidecar.routing import Route, UnitSource, Variant, version_of


def encoded(name, weight=1):
    unit = (UnitSource("header", "x-user-id"),)
    variants = (Variant("stable", 1), Variant("canary", weight))
    return codec.encode(Route(name=name, unit=unit, salt=b"s", variants=variants))


def response(*names, type_url=TYPE_URL, table_version="", removed=(), version="1"):
    resources = tuple((name, version, TYPE_URL, encoded(name)) for name in names)
    return Response(type_url, "1", table_version, resources, removed)


def test_a_step_adds_changes_and_removes():
    first = following.step(NOTHING, response("chat", "shop"))
    second = following.step(first, response("chat", "new", removed=("shop",), version="2"))
    assert second.versions == {"chat": "2", "new": "2"}
    assert second.version == version_of(second.versions)
    assert sorted(route.name for route in second.routes) == ["chat", "new"]
    assert first.versions == {"chat": "1", "shop": "1"}


def test_what_did_not_come_is_not_decoded_again():
    first = following.step(NOTHING, response("chat", "shop"))
    second = following.step(first, response("chat"))
    assert second.resources["shop"] is first.resources["shop"]


def test_removing_what_is_not_held_is_no_mistake():
    assert following.step(NOTHING, response(removed=("gone",))).versions == {}


def test_a_step_that_does_not_add_up_is_refused():
    with pytest.raises(OutOfStepError, match="not abc"):
        following.step(NOTHING, response("chat", table_version="abc"))


def test_another_type_is_refused():
    with pytest.raises(ResourceError, match="the response carries other"):
        following.step(NOTHING, response("chat", type_url="other"))
    foreign = Response(TYPE_URL, "1", "", (("chat", "1", "other", b""),), ())
    with pytest.raises(ResourceError, match="'chat' is of type other"):
        following.step(NOTHING, foreign)


def test_a_response_cut_short_is_refused_or_still_whole():
    pieces = b"".join(envelopes.pack_resource(n, "1", encoded(n)) for n in ("chat", "shop"))
    version = version_of({"chat": "1", "shop": "1"})
    whole = pieces + envelopes.pack_head("1", version, ())
    for length in range(len(whole)):
        try:
            after = following.step(NOTHING, envelopes.unpack_response(whole[:length]))
        except (ResourceError, ValueError):
            continue
        assert after.version == version
