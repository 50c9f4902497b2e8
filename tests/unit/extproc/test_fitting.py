"""What `canary envoy --check` finds in a configuration that somebody wrote."""

import copy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sidecar import rollout
from sidecar.cli import canary
from sidecar.extproc.bootstrap import Options, Upstream, bootstrap, clusters_of
from sidecar.extproc.fitting import Use, misfits
from sidecar.routing import route_of

ROOT = Path(__file__).parents[3]
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
    other = {"@type": ext_proc(config)["@type"], "stat_prefix": "waf"}
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


@pytest.mark.parametrize(
    "vary",
    [
        lambda _: None,
        lead_by_weighted_clusters,
        lead_by_header,
        strip_by_regex,
        leave_clearing_to_the_answer,
        forward_everything,
        another_processor,
        name_a_subset,
    ],
)
def test_what_fits_is_left_alone(vary):
    config = fitting_config()
    vary(config)
    assert misfits(config, declared()) == ()


@pytest.mark.parametrize(
    ("spoil", "ids"),
    [
        (unforward, ["header-hidden", "header-hidden"]),
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
        (hurry, ["timeout-short"]),
        (default_breaker, ["breaker-default"]),
        (forget_sidecar_cluster, ["no-sidecar-cluster"]),
        (forget_cluster, ["no-cluster"]),
        (forget_baseline_cluster, ["no-cluster"]),
        (no_filter, ["no-filter"]),
    ],
)
def test_each_silent_failure_is_found_alone_and_comes_with_a_remedy(spoil, ids):
    config = fitting_config()
    spoil(config)
    found = misfits(config, declared())
    assert [one.id for one in found] == ids
    assert all(one.where and one.message and one.remedy for one in found)


def test_what_is_missing_is_named():
    config = fitting_config()
    unforward(config)
    assert ["'x-user-id'" in one.message for one in misfits(config, declared())] == [True, False]
    config = fitting_config()
    unroute(config)
    [found] = misfits(config, declared())
    assert "x-canary-chat-model: canary to cluster 'chat-model-canary'" in found.message


def test_resources_are_judged_as_the_documents_they_came_from():
    routes = [route_of(one, {v.name: v.weight for v in one.variants}) for one in declared()]
    assert misfits(fitting_config(), routes) == ()
    config = fitting_config()
    unroute(config)
    assert misfits(config, routes) == misfits(config, declared())


def test_a_cluster_that_the_rollout_names_must_be_the_routes():
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["variants"][1]["cluster"] = "elsewhere"
    reading = rollout.read([rollout.Source("chat.yaml", yaml.safe_dump(document).encode())])
    [found] = misfits(fitting_config(), [one.rollout for one in reading.declared])
    assert (found.id, found.severity) == ("other-cluster", "warning")


def test_the_clients_address_must_be_sent():
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["unit"].append({"clientAddress": True})
    reading = rollout.read([rollout.Source("chat.yaml", yaml.safe_dump(document).encode())])
    [found] = misfits(fitting_config(), [one.rollout for one in reading.declared])
    assert found.id == "address-hidden"


def test_traces_are_judged_only_where_the_sidecar_makes_any():
    config = fitting_config()
    assert misfits(config, declared(), Use(traced=False)) == ()
    assert [one.id for one in misfits(config, declared(), Use(traced=True))] == ["no-trace-parent"]
    manager(config)["tracing"] = {}
    assert misfits(config, declared(), Use(traced=True)) == ()
    ext_proc(config)["emit_client_span"] = False
    assert [one.id for one in misfits(config, declared(), Use(traced=True))] == ["no-trace-parent"]


def test_what_holds_in_many_listeners_is_said_once():
    config = fitting_config()
    hurry(config)
    listener = config["static_resources"]["listeners"][0]
    other = copy.deepcopy(listener)
    other["filter_chains"][0]["filters"][0]["typed_config"]["stat_prefix"] = "egress"
    config["static_resources"]["listeners"].append(other)
    [found] = misfits(config, declared())
    assert found.where == "http_connection_manager 'ingress', ext_proc and 1 more"


@pytest.mark.parametrize("tree", [None, [], "text", {"static_resources": None}, {"clusters": [1]}])
def test_any_yaml_is_judged_without_falling_over(tree):
    assert len(misfits(tree, declared())) == 1


def camel(tree):
    if isinstance(tree, list):
        return [camel(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    spelled = {}
    for key, value in tree.items():
        first, *rest = key.split("_") if "." not in key else [key]
        spelled[first + "".join(word.title() for word in rest)] = camel(value)
    return spelled


def test_camel_case_is_read_like_snake_case():
    assert misfits(camel(fitting_config()), declared()) == ()


def test_the_command_prints_each_misfit_and_says_so_by_its_status(tmp_path):
    config = fitting_config()
    keep_route(config)
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(canary, ["envoy", str(EXAMPLE), "--check", str(path)])
    assert result.exit_code == 1
    assert "route_cache_action: CLEAR" in result.output


def test_the_command_is_silent_about_a_configuration_that_fits():
    check = str(ROOT / "deploy/envoy/envoy.yaml")
    result = CliRunner().invoke(canary, ["envoy", str(EXAMPLE), "--check", check])
    assert (result.exit_code, result.output) == (0, "")
