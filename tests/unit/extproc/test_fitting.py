"""What `canary envoy --check` finds in a configuration that somebody wrote."""

import copy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sidecar import rollout
from sidecar.cli import canary
from sidecar.extproc.bootstrap import Options, Upstream, bootstrap, clusters_of
from sidecar.extproc.fitting import misfits

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


def test_what_the_command_makes_fits():
    assert misfits(fitting_config(), declared()) == ()


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (unforward, ["keep 'x-user-id'", "keep 'cookie'"]),
        (disallow, ["keep 'cookie'"]),
        (unroute, ["no route leads x-canary-chat-model: canary to cluster 'chat-model-canary'"]),
        (lead_astray, ["no route leads"]),
        (unstrip, ["a client's own x-canary- headers"]),
        (strip_one_name_only, ["a client's own x-canary- headers"]),
        (keep_route, ["the route chosen before the decision may stay"]),
        (fail_closed, ["without the sidecar every request fails"]),
        (refuse_metadata, ["metadata is refused"]),
        (ask_for_responses, ["second round trip"]),
        (default_breaker, ["at most 1024 decisions"]),
        (forget_cluster, ["is not there"]),
        (no_filter, ["no HTTP filter chain has ext_proc"]),
    ],
)
def test_each_silent_failure_is_found_alone_and_comes_with_a_remedy(spoil, messages):
    config = copy.deepcopy(fitting_config())
    spoil(config)
    found = misfits(config, declared())
    assert len(found) == len(messages)
    for misfit, message in zip(found, messages, strict=True):
        assert message in str(misfit)
        assert misfit.remedy


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
