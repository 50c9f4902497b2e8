"""What istiod does with an EnvoyFilter, as far as deploy/istio uses it.

The rules, from Istio's documentation of EnvoyFilter: CLUSTER ADD appends; on each listener whose
filter chain matches, NETWORK_FILTER inserts come before NETWORK_FILTER merges, and those before
the HTTP_FILTER patches of that network filter; an insert without something to stand before
stands first; MERGE is protobuf's (messages merge, lists append, scalars replace).

istiod lets an unknown field pass with a warning and counts a patch that matches nothing. Here
both are errors, and so is every rule that is not modelled.
"""

import copy
import importlib
from collections.abc import Iterator
from typing import Any

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

Json = dict[str, Any]
MANAGER = "envoy.filters.network.http_connection_manager"
MESSAGES = {"CLUSTER": Cluster, "NETWORK_FILTER": Filter, "HTTP_FILTER": HttpFilter}

# A typed_config can be judged only once its message is registered.
for _message in (
    "access_loggers.grpc",
    "filters.http.ext_proc",
    "http.early_header_mutation.header_mutation",
    "upstreams.http",
):
    importlib.import_module(f"envoy_data_plane.envoy.extensions.{_message}.v3")


class PatchError(Exception):
    """A patch that Istio would ignore, or that this engine does not model."""


def patches(envoy_filter: Json, apply_to: str) -> list[Json]:
    """Return the `patch` values of one kind."""
    found = envoy_filter["spec"]["configPatches"]
    return [one["patch"]["value"] for one in found if one["applyTo"] == apply_to]


def parse_strictly(envoy_filter: Json) -> None:
    """Let Envoy's own message definitions judge every value. Raises KeyError on unknown fields."""
    for one in envoy_filter["spec"]["configPatches"]:
        MESSAGES[one["applyTo"]].from_dict(one["patch"]["value"])


def apply(envoy_filter: Json, resources: Json, context: str = "SIDECAR_OUTBOUND") -> Json:
    """Return `resources` (Envoy's static_resources) as a proxy in this context would get them.

    Raises PatchError if any patch changes nothing.
    """
    patched = copy.deepcopy(resources)
    for apply_to, one in _in_order(envoy_filter, context):
        if apply_to == "CLUSTER":
            _only(one, "ADD")
            patched["clusters"].append(copy.deepcopy(one["patch"]["value"]))
            continue
        chains = [chain for each in patched["listeners"] for chain in _chains(each, one)]
        change = _network_filter if apply_to == "NETWORK_FILTER" else _http_filter
        if not sum(change(chain["filters"], one) for chain in chains):
            raise PatchError(f"{apply_to} {one['patch']['operation']} changes nothing")
    return patched


def _in_order(envoy_filter: Json, context: str) -> Iterator[tuple[str, Json]]:
    found = [
        one
        for one in envoy_filter["spec"]["configPatches"]
        if one.get("match", {}).get("context", "ANY") in {context, "ANY"}
    ]
    if unknown := {one["applyTo"] for one in found} - MESSAGES.keys():
        raise PatchError(f"applyTo {unknown} is not modelled")
    for apply_to in ("CLUSTER", "NETWORK_FILTER", "HTTP_FILTER"):
        these = [one for one in found if one["applyTo"] == apply_to]
        for merging in (False, True):
            for one in these:
                if (one["patch"]["operation"] == "MERGE") == merging:
                    yield apply_to, one


def _chains(listener: Json, one: Json) -> list[Json]:
    match = dict(one.get("match", {}).get("listener", {}))
    port = match.pop("portNumber", None)
    _ = match.pop("filterChain", None)
    if match:
        raise PatchError(f"listener match {sorted(match)} is not modelled")
    if port not in {None, listener["address"]["socket_address"]["port_value"]}:
        return []
    return list(listener["filter_chains"])


def _filter_match(one: Json) -> tuple[str | None, str | None]:
    chain = dict(one.get("match", {}).get("listener", {}).get("filterChain", {}))
    wanted = dict(chain.pop("filter", {}))
    sub = dict(wanted.pop("subFilter", {}))
    names = wanted.pop("name", None), sub.pop("name", None)
    if chain or wanted or sub:
        raise PatchError(f"match {[*chain, *wanted, *sub]} is not modelled")
    return names


def _network_filter(filters: list[Json], one: Json) -> int:
    wanted, _ = _filter_match(one)
    if one["patch"]["operation"] != "MERGE":
        return _insert(filters, one["patch"], wanted)
    found = [each for each in filters if wanted in {None, each["name"]}]
    return sum(_merged(each, one["patch"]["value"]) for each in found)


def _http_filter(filters: list[Json], one: Json) -> int:
    wanted, sub = _filter_match(one)
    changed = 0
    for manager in filters:
        if manager["name"] != MANAGER or wanted not in {None, MANAGER}:
            continue
        below = manager["typed_config"]["http_filters"]
        if one["patch"]["operation"] == "MERGE":
            found = [each for each in below if sub in {None, each["name"]}]
            changed += sum(_merged(each, one["patch"]["value"]) for each in found)
        else:
            changed += _insert(below, one["patch"], sub)
    return changed


def _insert(filters: list[Json], patch: Json, before: str | None) -> int:
    operation, value = patch["operation"], copy.deepcopy(patch["value"])
    names = [each["name"] for each in filters]
    if operation == "INSERT_FIRST" or (operation == "INSERT_BEFORE" and before is None):
        filters.insert(0, value)
    elif operation == "INSERT_BEFORE":
        if before not in names:
            return 0
        filters.insert(names.index(before), value)
    else:
        _only({"patch": patch}, "ADD")
        filters.append(value)
    return 1


def _merged(there: Json, value: Json) -> int:
    types = [each.get("typed_config", {}).get("@type") for each in (there, value)]
    if types[0] != types[1]:
        raise PatchError(f"a merge of {types[1]} into {types[0]}")
    merge(there, value)
    return 1


def merge(into: Json, value: Json) -> None:
    """Merge as protobuf does."""
    for key, new in value.items():
        there = into.get(key)
        if isinstance(there, dict) and isinstance(new, dict):
            merge(there, new)
        elif isinstance(there, list) and isinstance(new, list):
            there += copy.deepcopy(new)
        else:
            into[key] = copy.deepcopy(new)


def _only(one: Json, operation: str) -> None:
    if one["patch"]["operation"] != operation:
        raise PatchError(f"operation {one['patch']['operation']} is not modelled here")
