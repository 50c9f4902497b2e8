"""The Envoy that every contender gets: the product's own configuration, answering by itself.

Three things differ from what `canary envoy` prints: routes answer directly (no upstream shares the
cores), the user comes from the query (the load generator varies the URI, not the headers), and
under TOLD the answer also tells what was decided. Without a contender the filter is left out.
"""

from typing import Any

from bench.contenders.base import TASK
from bench.lab.process import LabError
from sidecar import rollout
from sidecar.extproc import bootstrap
from sidecar.rollout.names import RESERVED_PREFIX

Json = dict[str, Any]

ANSWERED_BY = "x-answered-by"
HEADER_SEEN = "x-header-seen"
DECIDED = "x-decided"
TOLD = "/told"
LOAD = "/v1/chat"


def configuration(ext_proc: str, *, decides: bool = True) -> Json:
    """Return the bootstrap; with the ext_proc filter, to that address, if somebody `decides`."""
    reading = rollout.read([rollout.Source("task.yaml", TASK.document().encode())])
    if reading.mistakes:
        raise LabError("\n".join(map(str, reading.mistakes)))
    rollouts = [declared.rollout for declared in reading.declared]
    nowhere = dict.fromkeys(bootstrap.clusters_of(rollouts), bootstrap.Upstream("127.0.0.1:9"))
    options = bootstrap.Options(ext_proc=ext_proc, upstreams=nowhere, outcomes=False)
    config = bootstrap.bootstrap(rollouts, options)
    [listener] = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    _take_user_from_query(manager)
    for host in manager["route_config"]["virtual_hosts"]:
        routes = [_answer(route) for route in host["routes"]]
        host["routes"] = [*map(_tell, routes), *routes]
    if not decides:
        manager["http_filters"] = manager["http_filters"][1:]
    return config


def _take_user_from_query(manager: Json) -> None:
    [early] = manager["early_header_mutation_extensions"]
    user = {"header": {"key": TASK.header, "value": "%QUERY_PARAM(user)%"}}
    early["typed_config"]["mutations"].append(
        {"append": {**user, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    )


def _answer(route: Json) -> Json:
    variant = route["route"]["cluster"].removeprefix(f"{TASK.rollout}-")
    return {
        "match": route["match"],
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
        "response_headers_to_add": [{"header": {"key": ANSWERED_BY, "value": variant}}],
    }


def _tell(route: Json) -> Json:
    told = {
        HEADER_SEEN: f"%REQ({RESERVED_PREFIX}{TASK.rollout})%",
        DECIDED: f"%DYNAMIC_METADATA(canary:{TASK.rollout})%",
    }
    more = [{"header": {"key": key, "value": value}} for key, value in told.items()]
    return {
        **route,
        "match": {**route["match"], "prefix": TOLD},
        "response_headers_to_add": [*route["response_headers_to_add"], *more],
    }
