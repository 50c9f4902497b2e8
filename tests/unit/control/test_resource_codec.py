"""Routes to bytes and back: exact, deterministic, strict about meaning."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.control import codec
from sidecar.control.codec import ResourceError
from sidecar.control.pb import rollout_pb2 as pb
from sidecar.routing import Route, UnitSource, Variant

NAMES = st.from_regex(r"[a-r][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
SOURCES = st.one_of(
    st.builds(UnitSource, st.just("header"), st.from_regex(r"[a-w][a-z-]{0,9}", fullmatch=True)),
    st.builds(UnitSource, st.sampled_from(["cookie", "query"]), NAMES),
    st.just(UnitSource("client_address")),
)
ROUTES = st.builds(
    Route,
    name=NAMES,
    unit=st.lists(SOURCES, min_size=1, max_size=4).map(tuple),
    salt=st.binary(max_size=20).filter(lambda salt: b"\0" not in salt),
    variants=st.lists(NAMES, min_size=1, max_size=5, unique=True).flatmap(
        lambda names: st.tuples(
            *(st.builds(Variant, st.just(n), st.integers(1, 2**60), NAMES) for n in names)
        )
    ),
    hosts=st.lists(NAMES.map("{}.example.com".format), max_size=3, unique=True).map(tuple),
    path_prefix=st.sampled_from(["", "/v1", "/v1/chat"]),
)


@given(ROUTES)
def test_a_route_comes_back_as_it_was(route):
    assert codec.decode(route.name, codec.encode(route)) == route


@given(ROUTES)
def test_equal_routes_have_equal_bytes_and_so_equal_versions(route):
    again = codec.decode(route.name, codec.encode(route))
    assert codec.encode(again) == codec.encode(route)
    assert len(codec.version_of_bytes(codec.encode(route))) == 16


def message(**changes):
    whole = {
        "name": "chat",
        "assignment": pb.ASSIGNMENT_V1,
        "unit": [pb.UnitSource(header="x-user-id")],
        "variants": [pb.Variant(name="stable", weight=1)],
    }
    return pb.Rollout(**(whole | changes)).SerializeToString()


def test_unknown_fields_are_skipped():
    unknown = b"\xf2\x3f\x03abc"  # field 1022, length-delimited
    assert codec.decode("chat", message() + unknown) == codec.decode("chat", message())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x0a\xff", "not a canary.v1.Rollout"),
        (b"\x0a\x02\xff\xfe", "not a canary.v1.Rollout"),
        (message(name="shop"), "calls itself 'shop'"),
        (message(assignment=0), "assignment 0"),
        (message(assignment=2), "assignment 2"),
        (message(unit=[pb.UnitSource()]), "unit source is unset"),
        (message(unit=[]), "no unit source"),
        (message(variants=[]), "no variant"),
        (message(variants=[pb.Variant(name="stable")]), "every weight is zero"),
        (message(salt=b"a\0b"), "NUL"),
        (message(match=pb.Match(hosts=["Upper.example.com"])), "match.hosts"),
        (message(match=pb.Match(path_prefix="/v1/")), "match.pathPrefix"),
        (message(unit=[pb.UnitSource(header="x-canary-chat")]), "unit source header"),
    ],
)
def test_what_cannot_be_a_route_is_refused_by_name(data, what):
    with pytest.raises(ResourceError) as refused:
        codec.decode("chat", data)
    assert "'chat'" in str(refused.value)
    assert what in str(refused.value)
    assert refused.value.remedy


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data):
    with suppress(ResourceError):
        assert codec.decode("chat", data).name == "chat"


def test_the_encoding_is_frozen():
    route = Route(
        name="chat",
        unit=(UnitSource("header", "x-user-id"), UnitSource("client_address")),
        salt=b"chat-2026",
        variants=(Variant("stable", 19, "chat-stable"), Variant("canary", 1, "chat-canary")),
        hosts=("chat.example.com",),
        path_prefix="/v1",
    )
    # Bytes may only ever gain fields: a new version for the same route resends every table.
    assert codec.version_of_bytes(codec.encode(route)) == "abbc2923e322f02f"
