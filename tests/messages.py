"""ext_proc messages as Envoy sends them, and hypothesis strategies for routes and requests."""

from collections.abc import Iterable

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from envoy_data_plane.google import protobuf
from hypothesis import strategies as st

from sidecar.routing import Route, RouteError, UnitSource, Variant


def header_map(headers: Iterable[tuple[str, bytes]]) -> ext_proc.HttpHeaders:
    """Return headers the way Envoy sends them: in raw_value."""
    values = [core.HeaderValue(key=key, raw_value=value) for key, value in headers]
    return ext_proc.HttpHeaders(headers=core.HeaderMap(headers=values), end_of_stream=True)


def request_headers(headers: Iterable[tuple[str, bytes]], source_address: str = "") -> bytes:
    """Return the ProcessingRequest of a request's headers."""
    attributes = {}
    if source_address:
        fields = {"source.address": protobuf.Value(string_value=source_address)}
        attributes = {"envoy.filters.http.ext_proc": protobuf.Struct(fields=fields)}
    return bytes(
        ext_proc.ProcessingRequest(request_headers=header_map(headers), attributes=attributes)
    )


# Few values, so that rules and requests meet.
LABELS = st.sampled_from(["a", "b", "stable", "canary", "v-2", "x" * 63])
HOSTS = st.sampled_from(["a.b", "*.b", "b", "x.a.b", "*.a.b", "[::1]"])
PREFIXES = st.sampled_from(["", "/v1", "/v1/chat", "/v1/chat/x", "/v2"])
SOURCES = st.sampled_from(
    [
        UnitSource("header", "x-user-id"),
        UnitSource("header", ":authority"),
        UnitSource("cookie", "sid"),
        UnitSource("query", "u"),
        UnitSource("client_address"),
    ]
)
WEIGHTS = st.one_of(st.integers(0, 5), st.integers(0, 10**9), st.just(10**18))


@st.composite
def routes(draw: st.DrawFn, min_variants: int = 1, max_variants: int = 8) -> Route:
    """Return a valid route."""
    count = draw(st.integers(min_variants, max_variants))
    weights = draw(st.lists(WEIGHTS, min_size=count, max_size=count).filter(any))
    names = draw(st.lists(LABELS.flatmap(_suffixed), min_size=count, max_size=count, unique=True))
    return Route(
        name=draw(st.from_regex(r"\A[a-e]([a-z0-9-]{0,5}[a-z0-9])?\Z")),
        unit=tuple(draw(st.lists(SOURCES, min_size=1, max_size=3))),
        salt=draw(st.binary(max_size=20)).replace(b"\0", b""),
        variants=tuple(Variant(n, w) for n, w in zip(names, weights, strict=True)),
        hosts=tuple(draw(st.lists(HOSTS, max_size=3, unique=True))),
        path_prefix=draw(PREFIXES),
    )


def _suffixed(label: str) -> st.SearchStrategy[str]:
    return st.integers(0, 9).map(lambda n: f"{label[:60]}-{n}")


TABLES = st.lists(routes(), max_size=4, unique_by=lambda route: route.name)
PATHS = st.sampled_from(
    [
        b"/",
        b"/v1",
        b"/v1/",
        b"/v10",
        b"/v1/chat?u=7&u=8",
        b"/v1/chat/x/y?x=&u=",
        b"*",
        b"//v1",
        b"?u=1",
    ]
)
AUTHORITIES = st.sampled_from(
    [
        b"a.b",
        b"A.B:8080",
        b"x.a.b",
        b"b",
        b".b",
        b"[::1]:80",
        b"[::1]",
        b"",
        b"c" * 300 + b".b",
        b"[::1",
    ]
)
HEADERS = st.one_of(
    st.tuples(st.just(":path"), PATHS),
    st.tuples(st.just(":authority"), AUTHORITIES),
    st.tuples(st.just("x-user-id"), st.binary(max_size=40)),
    st.tuples(
        st.just("cookie"),
        st.sampled_from(
            [b"sid=1", b"a=b; sid=x=y", b"sid=;sid=2", b"; ;=;sid", b" \tsid=q ;", b"sid"]
        ),
    ),
    st.tuples(
        st.sampled_from(["x-canary-a", "x-canary-zzz", "x-canary-", "accept"]), st.just(b"1")
    ),
)
ADDRESSES = st.sampled_from(["", "10.0.0.1:99", "[::1]:99", "::1", "10.0.0.1", "/run/x.sock", ":"])
REQUESTS = st.builds(request_headers, st.lists(HEADERS, max_size=10), ADDRESSES)

__all__ = ["REQUESTS", "TABLES", "RouteError", "header_map", "request_headers", "routes"]
