"""Envoy configurations broken in one way each, by what `canary` says about them."""

from pathlib import Path

from sidecar import rollout
from sidecar.extproc.bootstrap import Options, Upstream, bootstrap, clusters_of

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "deploy/examples/rollouts/chat-model.yaml"


def declared():
    reading = rollout.read([rollout.Source("chat-model.yaml", EXAMPLE.read_bytes())])
    return [one.rollout for one in reading.declared]


def fitting_config():
    rollouts = declared()
    upstreams = {name: Upstream("127.0.0.1:8081") for name in clusters_of(rollouts)}
    return bootstrap(rollouts, Options(upstreams=upstreams))


def manager(config):
    listener = config["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def ext_proc(config):
    return manager(config)["http_filters"][0]["typed_config"]


def unforward(config):
    ext_proc(config)["forward_rules"] = {"allowed_headers": {"patterns": [{"prefix": ":"}]}}


def disallow(config):
    ext_proc(config)["forward_rules"]["disallowed_headers"] = {
        "patterns": [{"exact": "COOKIE", "ignore_case": True}]
    }


def unroute(config):
    del manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]


def lead_astray(config):
    route = manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    route["cluster"] = "chat-model-stable"


def unstrip(config):
    del manager(config)["early_header_mutation_extensions"]


def strip_one_name_only(config):
    mutations = manager(config)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    mutations[:] = [{"remove": "x-canary-chat-model"}]


def keep_route(config):
    ext_proc(config)["route_cache_action"] = "RETAIN"


def fail_closed(config):
    del ext_proc(config)["failure_mode_allow"]


def refuse_metadata(config):
    del ext_proc(config)["metadata_options"]


def ask_for_responses(config):
    del ext_proc(config)["processing_mode"]


def default_breaker(config):
    del config["static_resources"]["clusters"][0]["circuit_breakers"]


def forget_cluster(config):
    del config["static_resources"]["clusters"][2]


def no_filter(config):
    del manager(config)["http_filters"][0]


def forbid_mutations(config):
    ext_proc(config)["mutation_rules"] = {"disallow_all": True}


def forbid_ours(config):
    ext_proc(config)["mutation_rules"] = {"disallow_expression": {"regex": "x-.*"}}


def ask_nothing(config):
    ext_proc(config)["processing_mode"]["request_header_mode"] = "SKIP"


def forget_clearing(config):
    del ext_proc(config)["route_cache_action"]
    ext_proc(config)["disable_clear_route_cache"] = True


def hurry(config):
    ext_proc(config)["message_timeout"] = "0.05s"


def forget_sidecar_cluster(config):
    del config["static_resources"]["clusters"][0]


def forget_baseline_cluster(config):
    del config["static_resources"]["clusters"][1]


def strip_regex_of_one(config):
    mutations = manager(config)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    regex = {"safe_regex": {"regex": "x-canary-[a-z-]+"}}
    mutations[:] = [{"remove_on_match": {"key_matcher": regex}}]


def lead_by_weighted_clusters(config):
    route = manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    route["weighted_clusters"] = {"clusters": [{"name": route.pop("cluster"), "weight": 1}]}


def lead_by_header(config):
    route = manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    del route["cluster"]
    route["cluster_header"] = "x-some-cluster"


def strip_by_regex(config):
    mutations = manager(config)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    del mutations[0]


def leave_clearing_to_the_answer(config):
    del ext_proc(config)["route_cache_action"]


def forward_everything(config):
    del ext_proc(config)["forward_rules"]


def another_processor(config):
    filters = manager(config)["http_filters"]
    grpc = {"envoy_grpc": {"cluster_name": "chat-model-stable"}}
    other = {"@type": ext_proc(config)["@type"], "stat_prefix": "waf", "grpc_service": grpc}
    filters.insert(0, {"name": "waf", "typed_config": other})


def name_a_subset(config):
    """Istio's own cluster names: the rollout cannot know them and need not."""
    for number, variant in enumerate(("canary", "stable")):
        name = f"outbound|80|{variant}|chat-model"
        route = manager(config)["route_config"]["virtual_hosts"][0]["routes"][number]["route"]
        for cluster in config["static_resources"]["clusters"]:
            if cluster["name"] == route["cluster"]:
                cluster["name"] = name
        route["cluster"] = name


def virtual_hosts(config):
    return manager(config)["route_config"]["virtual_hosts"]


def lead_last(config):
    virtual_hosts(config)[0]["routes"].reverse()


def lead_on_another_path(config):
    match = virtual_hosts(config)[0]["routes"][0]["match"]
    del match["prefix"]
    match["path_separated_prefix"] = "/v2"


def lead_by_what_the_header_is_not(config):
    match = virtual_hosts(config)[0]["routes"][0]["match"]
    match["headers"][0]["invert_match"] = True


def lead_posts_only(config):
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    virtual_hosts(config)[0]["routes"][0]["match"]["headers"].append(post)


def answer_health_checks_first(config):
    healthy = {"match": {"path": "/healthz"}, "direct_response": {"status": 200}}
    virtual_hosts(config)[0]["routes"].insert(0, healthy)
    off = {"@type": f"{PER_ROUTE}filters.http.ext_proc.v3.ExtProcPerRoute", "disabled": True}
    healthy["typed_per_filter_config"] = {"envoy.filters.http.ext_proc": off}


PER_ROUTE = "type.googleapis.com/envoy.extensions."
OFF = {
    "envoy.filters.http.ext_proc": {
        "@type": f"{PER_ROUTE}filters.http.ext_proc.v3.ExtProcPerRoute",
        "disabled": True,
    }
}
ON = {
    "envoy.filters.http.ext_proc": {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
        "config": {
            "@type": f"{PER_ROUTE}filters.http.ext_proc.v3.ExtProcPerRoute",
            "overrides": {},
        },
    }
}


def disable_filter(config):
    manager(config)["http_filters"][0]["disabled"] = True


def disable_for_the_host(config):
    virtual_hosts(config)[0]["typed_per_filter_config"] = OFF


def disable_for_the_undecided(config):
    virtual_hosts(config)[0]["routes"][1]["typed_per_filter_config"] = OFF


def disable_everywhere(config):
    manager(config)["route_config"]["typed_per_filter_config"] = OFF


def disable_but_where_it_counts(config):
    disable_filter(config)
    virtual_hosts(config)[0]["typed_per_filter_config"] = ON


def disable_for_the_decided(config):
    """The filter has asked by then."""
    virtual_hosts(config)[0]["routes"][0]["typed_per_filter_config"] = OFF


def route_first(config):
    manager(config)["http_filters"].reverse()


def sidecar_cluster(config):
    return config["static_resources"]["clusters"][0]


def speak_http1_to_the_sidecar(config):
    del sidecar_cluster(config)["typed_extension_protocol_options"]


def speak_http2_as_of_old(config):
    speak_http1_to_the_sidecar(config)
    sidecar_cluster(config)["http2_protocol_options"] = {}


def breaker_for_one_priority_only(config):
    thresholds = sidecar_cluster(config)["circuit_breakers"]["thresholds"]
    thresholds.append({"priority": "HIGH"})


# What breaks a configuration, and the ids of what is then found.
def outcome_log(config):
    return manager(config)["access_log"][0]["typed_config"]


def tell_nobody(config):
    del manager(config)["access_log"]


def tell_somebody_else(config):
    common = outcome_log(config)["common_config"]
    common["log_name"] = "audit"
    common["grpc_service"]["envoy_grpc"]["cluster_name"] = "audit"


def tell_late(config):
    del outcome_log(config)["common_config"]["buffer_flush_interval"]


def tell_nothing_of_forwarding(config):
    outcome_log(config)["common_config"]["log_name"] = "canary"


def tell_of_headers_that_stay(config):
    outcome_log(config)["common_config"]["log_name"] += "&header=x-country&attribute=source.port"


def tell_that_all_is_forwarded(config):
    outcome_log(config)["common_config"]["log_name"] = "canary?header=*"


def tell_of_less(config):
    outcome_log(config)["common_config"]["log_name"] = "canary?header=:path"


def tell_no_grpc_status(config):
    del outcome_log(config)["additional_response_trailers_to_log"]


def tell_by_another_cluster(config):
    """As Envoy Gateway does."""
    common = outcome_log(config)["common_config"]
    common["grpc_service"]["envoy_grpc"]["cluster_name"] = "accesslog_als_0_0"


SPOILERS = [
    (tell_nobody, ["no-outcomes"]),
    (tell_somebody_else, ["no-outcomes"]),
    (tell_late, ["outcomes-late"]),
    (tell_no_grpc_status, ["grpc-status-hidden"]),
    (tell_nothing_of_forwarding, ["forwards-unsaid"]),
    (tell_of_headers_that_stay, ["forwards-untrue"]),
    (tell_that_all_is_forwarded, ["forwards-untrue"]),
    (unforward, ["header-hidden", "header-hidden", "force-hidden"]),
    (disallow, ["header-hidden"]),
    (unroute, ["no-route"]),
    (lead_astray, ["no-route"]),
    (unstrip, ["no-early-strip"]),
    (strip_one_name_only, ["no-early-strip"]),
    (strip_regex_of_one, ["no-early-strip"]),
    (keep_route, ["route-kept"]),
    (forget_clearing, ["route-kept"]),
    (fail_closed, ["fail-closed"]),
    (refuse_metadata, ["metadata-refused"]),
    (ask_for_responses, ["responses-asked"]),
    (ask_nothing, ["not-asked"]),
    (forbid_mutations, ["mutations-forbidden"]),
    (forbid_ours, ["mutations-forbidden"]),
    (lead_last, ["route-shadowed"]),
    (lead_on_another_path, ["path-elsewhere"]),
    (lead_by_what_the_header_is_not, ["no-route"]),
    (disable_filter, ["filter-disabled"]),
    (disable_for_the_host, ["filter-disabled"]),
    (disable_for_the_undecided, ["filter-disabled"]),
    (disable_everywhere, ["filter-disabled"]),
    (route_first, ["after-router"]),
    (speak_http1_to_the_sidecar, ["sidecar-not-grpc"]),
    (breaker_for_one_priority_only, ["breaker-default"]),
    (hurry, ["timeout-short"]),
    (default_breaker, ["breaker-default"]),
    (forget_sidecar_cluster, ["no-sidecar-cluster"]),
    (forget_cluster, ["no-cluster"]),
    (forget_baseline_cluster, ["no-cluster"]),
    (no_filter, ["no-filter"]),
]

FITTING = [
    tell_of_less,
    tell_by_another_cluster,
    lead_by_weighted_clusters,
    lead_by_header,
    lead_posts_only,
    answer_health_checks_first,
    disable_but_where_it_counts,
    disable_for_the_decided,
    strip_by_regex,
    leave_clearing_to_the_answer,
    forward_everything,
    another_processor,
    name_a_subset,
]
