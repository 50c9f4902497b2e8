"""A simulation says of every row what the twin decides for the same request."""

from collections import Counter

import pytest
from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruled import JWT, ruled_tables

from sidecar.routing import columns, twin, twin_codec
from sidecar.routing.encoding import encoder, specified
from sidecar.routing.simulating import Simulation

HEAD = {
    "x-user-id": ["u1", "u2", "ü", "l" * 109, "l" * 113, "l" * 114, "l" * 300],
    "x-country": ["de", "fr"], "header:x-a": ["a.b", "1.2.3"],
    "cookie:sid": ["u1", "u 2"], "query:u": ["u1", "1"], "query:v": ["x"],
    "path": ["/v1/chat", "/v1", "/a?b=c"], "host": ["a.b", "B.org:8443"],
    "method": ["GET", "POST"], "clientAddress": ["10.0.0.1", "[2001:db8::1]:80"],
    "claim:payload.tier": ["de", "18.25", '["fr", true, 3]'], "claim:payload.roles": ["[]", "u1"],
    "metadata:other:n": ["1", "m" * 119, "m" * 120, "m" * 121, "m" * 500],
    "attribute:connection.mtls": ["true"],
    "attribute:request.size": ["1e3", "[0.5]"],
}  # fmt: skip


def as_request(head, row):
    """The same request, written from the convention alone."""
    said = {name: cell for name, cell in zip(head, row, strict=True) if cell}
    pseudo = {"host": ":authority", "method": ":method", "header:x-a": "x-a"}
    plain = ("x-user-id", "x-country", "header:x-a", "host", "method")
    headers = [(pseudo.get(n, n), said[n].encode()) for n in plain if n in said]
    if "cookie:sid" in said:
        headers.append(("cookie", b"sid=" + said["cookie:sid"].encode()))
    asked = "&".join(f"{n[6:]}={said[n]}" for n in head if n.startswith("query:") and n in said)
    path = said.get("path", "/")
    if asked:
        path += ("&" if "?" in path else "?") + asked
    if {"path", "query:u", "query:v"} & set(head):
        headers.append((":path", path.encode()))
    payload = {
        key: columns.plain(said[f"claim:payload.{key}"])
        for key in ("tier", "roles")
        if f"claim:payload.{key}" in said
    }
    metadata = {JWT: {"payload": payload}} if payload else {}
    if "metadata:other:n" in said:
        metadata["other"] = {"n": said["metadata:other:n"]}
    names = ("connection.mtls", "request.size")
    attributes = {
        n: columns.plain(said[f"attribute:{n}"]) for n in names if f"attribute:{n}" in said
    }
    return twin.Request(headers, said.get("clientAddress", "").encode(), metadata, attributes)


HEADS = st.lists(st.sampled_from(list(HEAD)), min_size=1, unique=True)


def rows(head):
    row = st.tuples(*(st.sampled_from(["", *HEAD[name]]) for name in head))
    return st.lists(row, min_size=1, max_size=20)


@settings(max_examples=150, suppress_health_check=[HealthCheck.data_too_large])
@given(st.data())
def test_counts_are_those_of_the_twin(data):
    new, old = data.draw(ruled_tables()), data.draw(ruled_tables())
    head = data.draw(HEADS)
    people = data.draw(rows(head))
    encode = encoder([columns.read(name) for name in head])
    simulation, compared = Simulation(new), Simulation(new, old)
    for cut in range(0, len(people), 7):
        batch = [encode(row) for row in people[cut : cut + 7]]
        simulation.take(batch)
        compared.take(batch)
    requests = [as_request(head, row) for row in people]
    decided = [
        [{d.rollout: (d.variant, d.reason) for d in twin.decide(side, one)} for one in requests]
        for side in (new, old)
    ]
    nothing = ("", "")
    given = {one.rollout: one.given for one in simulation.outcomes()}
    for one in compared.outcomes():
        now, was = ([found.get(one.rollout, nothing) for found in side] for side in decided)
        assert one.given == Counter(now)
        assert given.get(one.rollout, one.given) == one.given
        moves = ((b, n) for b, n in zip(was, now, strict=True) if b[0] != n[0])
        assert one.moved == Counter(moves)


@given(st.data())
def test_a_row_is_the_message_that_the_official_classes_write(data):
    head = data.draw(HEADS)
    encode = encoder([columns.read(name) for name in head])
    for row in data.draw(rows(head)):
        read = twin_codec.read(ext_proc.ProcessingRequest.parse(encode(row)))
        wanted = as_request(head, row)
        assert sorted(read.headers) == sorted(wanted.headers)
        assert read.source_address == wanted.source_address
        assert set(read.metadata) == set(wanted.metadata)


CELLS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "[]", '["a", 1]', "\udcff", "x" * 127, "x" * 128, "y" * 9000]),
)


@given(st.data())
def test_rows_are_written_natively_as_in_python_byte_for_byte(data):
    inputs = [columns.read(name) for name in data.draw(HEADS)]
    native, python = encoder(inputs), specified(inputs)
    for _ in range(3):
        row = [data.draw(CELLS) for _ in inputs]
        try:
            wanted = python(row)
        except columns.ColumnError:
            with pytest.raises(columns.ColumnError):
                native(row)
        else:
            assert native(row) == wanted


def test_metadata_deeper_than_the_writer_goes_is_written_all_the_same():
    inputs = [columns.read("metadata:f:" + ".".join("abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"))]
    assert encoder(inputs)(["x"]) == specified(inputs)(["x"])


@pytest.mark.parametrize(
    "name", ["", "cookie:", "metadata:f", "metadata:f:", "claim:", "query:a b", "x y", "header:"]
)
def test_a_name_that_means_nothing_is_refused(name):
    with pytest.raises(columns.ColumnError) as refused:
        columns.read(name)
    assert "cookie:NAME" in refused.value.remedy
