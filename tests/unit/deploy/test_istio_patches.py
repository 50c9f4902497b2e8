"""The small patch engine follows Istio's rules, and refuses what it does not know."""

import copy

import pytest
from e2e import istio_patches

MANAGER = istio_patches.MANAGER
HCM = "type.googleapis.com/HttpConnectionManager"


def plain():
    filters = [{"name": name} for name in ("fault", "router")]
    config = {"@type": HCM, "http_filters": filters, "access_log": [{"name": "one"}]}
    chain = {"filters": [{"name": MANAGER, "typed_config": config}]}
    address = {"socket_address": {"address": "0.0.0.0", "port_value": 80}}
    return {
        "listeners": [{"name": "0.0.0.0_80", "address": address, "filter_chains": [chain]}],
        "clusters": [{"name": "there"}],
    }


def patched(apply_to, operation, value, **match):
    one = {
        "applyTo": apply_to,
        "match": {"context": "SIDECAR_OUTBOUND", **match},
        "patch": {"operation": operation, "value": value},
    }
    before = plain()
    kept = copy.deepcopy(before)
    after = istio_patches.apply({"spec": {"configPatches": [one]}}, before)
    assert before == kept
    return after


def manager(resources):
    return resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def sub_filter(name):
    return {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": name}}}}


@pytest.mark.parametrize(
    ("operation", "listener", "order"),
    [
        ("INSERT_FIRST", {}, ["new", "fault", "router"]),
        ("INSERT_FIRST", sub_filter("router"), ["new", "fault", "router"]),
        ("INSERT_BEFORE", sub_filter("router"), ["fault", "new", "router"]),
        ("INSERT_BEFORE", {}, ["new", "fault", "router"]),
        ("ADD", {"portNumber": 80}, ["fault", "router", "new"]),
    ],
)
def test_a_filter_stands_where_the_operation_says(operation, listener, order):
    after = patched("HTTP_FILTER", operation, {"name": "new"}, listener=listener)
    assert [one["name"] for one in manager(after)["http_filters"]] == order


def test_a_merge_appends_to_lists_merges_messages_and_replaces_the_rest():
    value = {"@type": HCM, "access_log": [{"name": "two"}], "tracing": {"verbose": True}}
    after = patched("NETWORK_FILTER", "MERGE", {"typed_config": value})
    assert manager(after)["access_log"] == [{"name": "one"}, {"name": "two"}]
    assert manager(after)["tracing"] == {"verbose": True}
    assert len(manager(after)["http_filters"]) == 2
    into = {"a": {"b": 1, "c": 2}, "d": 3}
    istio_patches.merge(into, {"a": {"b": 4}, "d": 5})
    assert into == {"a": {"b": 4, "c": 2}, "d": 5}


def test_a_cluster_is_added_at_the_end():
    after = patched("CLUSTER", "ADD", {"name": "new"})
    assert [one["name"] for one in after["clusters"]] == ["there", "new"]


def test_another_context_is_left_alone():
    assert patched("CLUSTER", "ADD", {"name": "new"}, context="SIDECAR_INBOUND") == plain()


@pytest.mark.parametrize(
    ("apply_to", "operation", "match"),
    [
        ("HTTP_FILTER", "INSERT_BEFORE", {"listener": sub_filter("missing")}),
        ("HTTP_FILTER", "INSERT_FIRST", {"listener": {"portNumber": 8080}}),
        ("HTTP_FILTER", "REPLACE", {}),
        ("HTTP_FILTER", "INSERT_FIRST", {"listener": {"filterChain": {"sni": "x"}}}),
        ("HTTP_FILTER", "INSERT_FIRST", {"listener": {"listenerFilter": "x"}}),
        ("NETWORK_FILTER", "MERGE", {}),
        ("CLUSTER", "REMOVE", {}),
        ("VIRTUAL_HOST", "MERGE", {}),
    ],
)
def test_what_would_be_ignored_or_is_not_known_is_an_error(apply_to, operation, match):
    with pytest.raises(istio_patches.PatchError):
        patched(apply_to, operation, {"name": "new"}, **match)
