"""Hypothesis strategies for routes with rules, and for requests that their conditions speak of.

Few values, so that rules and requests meet: most conditions hold for some requests and not for
others.
"""

from dataclasses import replace

from hypothesis import strategies as st
from messages import ADDRESSES, HEADERS, routes

from sidecar.routing import Route, by_name, twin, twin_codec
from sidecar.routing.force import Key, sign
from sidecar.routing.rules import (
    AllOf,
    AnyOf,
    Bound,
    Check,
    Holdout,
    Input,
    Layer,
    Not,
    Override,
    Prerequisite,
    Segment,
)

KEYS = (Key("qa", b"k" * 32), Key("old", b"o" * 40))
NOW_S = 1_800_000_000
JWT = "envoy.filters.http.jwt_authn"

TEXTS = [
    b"de", b"fr", b"staff@example.com", b"u1", b"GET", b"/v1/chat", b"/v1", b"a.b", b"true",
    b"1", b"0.5", b"-3", b"18.25", b"1e3", b"007", b"+1.50",
    b"1.2.3", b"1.2.3-rc.1", b"1.2.3-rc.2+b", b"1.10.0", b"01.2.3", b"1.2", b"2.0.0-alpha.beta",
    b"2026-02-28T23:59:60Z", b"2026-03-01T00:00:00Z", b"2026-03-01T01:00:00.5+01:00", b"2026-13-01",
    b"10.0.0.1", b"10.0.0.255", b"::ffff:10.0.0.7", b"2001:db8::1", b"10.0.0", b"fe80::1%eth0",
    b"\xff\xfe", "k\u00fcche".encode(),
]  # fmt: skip
VALUES = st.one_of(st.sampled_from(TEXTS), st.binary(min_size=1, max_size=6))
NUMBERS = ["0", "1", "-3", "0.5", "18.25", "999999999999999999.999999999", "+1.5"]
VERSIONS = ["1.2.3", "1.2.3-rc.1", "1.2.3-rc.2", "1.10.0", "2.0.0-alpha", "2.0.0-alpha.1", "0.0.0"]
DATES = ["2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00.5+01:00",
         "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"]  # fmt: skip
NETWORKS = [b"10.0.0.0/8", b"10.0.0.0/24", b"10.0.0.1", b"2001:db8::/32", b"::/0", b"0.0.0.0/0",
            b"::ffff:10.0.0.0/104"]  # fmt: skip
PATTERNS = [rb"de|fr", rb".*@example\.com", rb"/v[0-9]+(/.*)?", rb"(?i)GET", rb"\d+", rb"k.che",
            rb"[^a]+", rb"", rb".*\xff.*"]  # fmt: skip

INPUTS = st.sampled_from([
    Input("header", ("x-country",)), Input("header", ("x-a",)), Input("header", (":method",)),
    Input("header", ("x-user-id",)), Input("cookie", ("sid",)), Input("query", ("u",)),
    Input("path"), Input("host"), Input("client_address"),
    Input("metadata", (JWT, "payload", "tier")), Input("metadata", (JWT, "payload", "roles")),
    Input("metadata", ("other", "n")), Input("attribute", ("source.address",)),
    Input("attribute", ("connection.mtls",)), Input("attribute", ("request.size",)),
])  # fmt: skip


def bounds(texts: list[str]) -> st.SearchStrategy[tuple[Bound | None, Bound | None]]:
    bound = st.builds(Bound, st.sampled_from(texts), st.booleans())
    return st.tuples(st.none() | bound, st.none() | bound).filter(any)


def _range(operator: str, texts: list[str]) -> st.SearchStrategy[Check]:
    made = st.tuples(INPUTS, bounds(texts))
    return made.map(lambda one: Check(one[0], operator, (), *one[1]))


def _texts(operator: str, values: st.SearchStrategy[bytes], most: int = 1) -> st.SearchStrategy:
    lists = st.lists(values, min_size=1, max_size=most, unique=True).map(tuple)
    return st.builds(Check, INPUTS, st.just(operator), lists)


TESTS = st.one_of(
    st.builds(Check, INPUTS, st.just("present")),
    *(_texts(one, VALUES) for one in ("exact", "prefix", "suffix", "contains")),
    _texts("in", VALUES, 40),
    _texts("regex", st.sampled_from([p for p in PATTERNS if p])),
    _texts("cidr", st.sampled_from(NETWORKS), 4),
    _range("number", NUMBERS),
    _range("semver", VERSIONS),
    _range("date", DATES),
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)
UNITS = st.sampled_from([b"u1", b"u2", b"1", b"2", b"q", b"a.b", b"10.0.0.1"])
NAMES = st.sampled_from(["one", "two", "three"])


@st.composite
def segments(draw: st.DrawFn, route: Route, name: str) -> Segment:
    when = tuple(draw(st.lists(CONDITIONS, min_size=1, max_size=3)))
    if draw(st.booleans()):
        return Segment(name, when, variant=draw(st.sampled_from(route.variants)).name)
    count = len(route.variants)
    weights = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count).filter(any))
    salt = draw(st.sampled_from([None, b"own", b""]))
    return Segment(name, when, weights=tuple(weights), salt=salt)


@st.composite
def ruled(draw: st.DrawFn) -> Route:
    """Return a valid route with rules of every kind."""
    route = draw(routes())
    listed = draw(st.lists(UNITS, unique=True, max_size=4))
    given = [draw(st.sampled_from(["", *(v.name for v in route.variants)])) for _ in listed]
    overrides = [
        Override(v.name, tuple(u for u, to in zip(listed, given, strict=True) if to == v.name))
        for v in route.variants
    ]
    shares = st.integers(0, 20)
    start = draw(shares.filter(lambda n: n < 20))
    holdout = st.builds(Holdout, NAMES, st.integers(1, 20), st.just(20))
    layer = st.builds(Layer, NAMES, st.just(start), st.integers(start + 1, 20), st.just(20))
    return replace(
        route,
        killed=draw(st.sampled_from([False] * 5 + [True])),
        holdout=draw(st.none() | holdout),
        layer=draw(st.none() | layer),
        excluded=tuple(u for u, to in zip(listed, given, strict=True) if not to),
        overrides=tuple(one for one in overrides if one.units),
        segments=tuple(draw(segments(route, f"s{i}")) for i in range(draw(st.integers(0, 4)))),
    )


@st.composite
def ruled_tables(draw: st.DrawFn) -> list[Route]:
    """Return up to four routes, of which later ones may require earlier ones, or nobody."""
    made = by_name(draw(st.lists(ruled(), max_size=4, unique_by=lambda route: route.name)))
    table: list[Route] = []
    for route in made:
        others = draw(st.lists(st.sampled_from([*table, None]), max_size=2, unique=True))
        requires = tuple(
            Prerequisite(one.name, (draw(st.sampled_from(one.variants)).name, "zzz"))
            if one
            else Prerequisite("nobody", ("a",))
            for one in others
        )
        # Slices of one layer may not overlap: each rollout has a layer of its own.
        layer = route.layer and replace(route.layer, name=f"{route.layer.name}-{route.name}")
        table.append(replace(route, requires=requires, layer=layer))
    return table


@st.composite
def tokens(draw: st.DrawFn, table: list[Route]) -> bytes:
    """Return a force token, or something that is none."""
    pairs = {route.name: draw(st.sampled_from(route.variants)).name for route in table[:2]}
    token = sign(
        draw(st.sampled_from([*KEYS, Key("foreign", b"f" * 32), Key("qa", b"x" * 32)])),
        pairs or {"a": "b"},
        NOW_S + draw(st.sampled_from([-1, 0, 1, 1000])),
    )
    if draw(st.booleans()):
        return token.encode()
    cut = draw(st.integers(0, len(token)))
    return (
        token[:cut] + draw(st.sampled_from(["", "x", ".", "+", "=", "0"])) + token[cut:]
    ).encode()


PLAIN = st.one_of(
    st.none(), st.booleans(), st.floats(width=64), st.integers(-5, 20).map(float),
    st.sampled_from([t.decode() for t in TEXTS if t.isascii()]), st.just(""),
)  # fmt: skip
PLAINS = st.one_of(PLAIN, st.lists(st.one_of(PLAIN, st.just(["x"]), st.just({})), max_size=4))
METADATA = st.fixed_dictionaries(
    {},
    optional={
        JWT: st.fixed_dictionaries(
            {},
            optional={
                "payload": st.one_of(
                    PLAIN, st.fixed_dictionaries({}, optional={"tier": PLAINS, "roles": PLAINS})
                )
            },
        ),
        "other": st.fixed_dictionaries({}, optional={"n": PLAINS}),
    },
)
ATTRIBUTES = st.fixed_dictionaries(
    {}, optional={"connection.mtls": PLAINS, "request.size": PLAINS, "x": PLAIN}
)
RULED_HEADERS = st.one_of(
    HEADERS,
    st.tuples(st.sampled_from(["x-country", "x-a", ":method", "x-user-id"]), VALUES | st.just(b"")),
)


@st.composite
def ruled_requests(draw: st.DrawFn, table: list[Route]) -> bytes:
    """Return the message with which Envoy would ask, a force token perhaps among its headers."""
    headers = draw(st.lists(RULED_HEADERS, max_size=10))
    if draw(st.booleans()):
        headers.append(("canary-force", draw(tokens(table))))
    return twin_codec.write(
        twin.Request(
            headers=headers,
            source_address=draw(ADDRESSES).encode(),
            metadata=draw(METADATA),
            attributes=draw(ATTRIBUTES),
        )
    )
