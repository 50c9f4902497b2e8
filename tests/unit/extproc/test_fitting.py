"""What `canary envoy --check` finds in a configuration that somebody wrote."""

import copy

import pytest
import yaml
from click.testing import CliRunner
from misfitting import (
    EXAMPLE,
    FITTING,
    ROOT,
    SPOILERS,
    declared,
    ext_proc,
    fitting_config,
    hurry,
    keep_route,
    manager,
    unforward,
    unroute,
    virtual_hosts,
)

from sidecar import rollout
from sidecar.cli import canary
from sidecar.extproc.bootstrap import Options, Upstream, bootstrap, clusters_of
from sidecar.extproc.fitting import Use, misfits
from sidecar.routing import route_of


@pytest.mark.parametrize("vary", [lambda _: None, *FITTING])
def test_what_fits_is_left_alone(vary):
    config = fitting_config()
    vary(config)
    assert misfits(config, declared()) == ()


@pytest.mark.parametrize(("spoil", "ids"), SPOILERS)
def test_each_silent_failure_is_found_alone_and_comes_with_a_remedy(spoil, ids):
    config = fitting_config()
    spoil(config)
    found = misfits(config, declared())
    assert [one.id for one in found] == ids
    assert all(one.where and one.message and one.remedy for one in found)


def test_what_is_missing_is_named():
    config = fitting_config()
    unforward(config)
    named = [one.message.split("'")[1] for one in misfits(config, declared())]
    assert named == ["cookie", "x-user-id", "canary-force"]
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


def hosted(config, *domains):
    """The rollout for chat.example.com and below; its virtual host for these domains."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["match"] = {"hosts": ["chat.example.com", "*.chat.example.com"]}
    reading = rollout.read([rollout.Source("chat.yaml", yaml.safe_dump(document).encode())])
    virtual_hosts(config)[0]["domains"] = list(domains)
    return [one.rollout for one in reading.declared]


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        ("*", "chat.example.com", "'chat.example.com'"),
        ("*", "chat.example.com:443", "'chat.example.com'"),
        ("*.example.com", "CHAT.example.com", "'chat.example.com'"),
        ("*.example.com", "*.chat.example.com", "'*.chat.example.com'"),
        ("chat.*", "*.chat.example.com", "'*.chat.example.com'"),
        ("chat.example.com", "*", "'*.chat.example.com'"),
    ],
)
def test_a_virtual_host_with_the_closer_domain_takes_the_host(ours, theirs, taken):
    config = fitting_config()
    rollouts = hosted(config, ours)
    default = virtual_hosts(config)[0]["routes"][1]
    virtual_hosts(config).append({"name": "theirs", "domains": [theirs], "routes": [default]})
    [found] = misfits(config, rollouts)
    assert (found.id, found.where) == ("host-elsewhere", "virtual host 'theirs'")
    assert taken in found.message
    virtual_hosts(config)[1]["name"] = "allow_any"
    assert misfits(config, rollouts) == ()


@pytest.mark.parametrize("domains", [["*"], ["*.example.com"], ["chat.*", "*"], ["elsewhere.com"]])
def test_a_host_that_nobody_else_takes_is_left_alone(domains):
    config = fitting_config()
    assert misfits(config, hosted(config, *domains)) == ()


@pytest.mark.parametrize(
    ("endpoint", "listening", "same"),
    [
        ("unix:///run/canary/ext_proc.sock", "unix:/run/canary/ext_proc.sock", True),
        ("unix:///run/canary/ext_proc.sock", "unix:///tmp/ext_proc.sock", False),
        ("unix:///run/canary/ext_proc.sock", "127.0.0.1:18001", False),
        ("127.0.0.1:18001", "127.0.0.1:18001", True),
        ("127.0.0.1:18001", "0.0.0.0:18001", True),
        ("127.0.0.1:18001", "127.0.0.1:18002", False),
        ("10.0.0.1:18001", "127.0.0.1:18001", False),
        ("localhost:18001", "127.0.0.1:18001", True),
        ("127.0.0.1:18001", "", True),
    ],
)
def test_the_sidecar_must_be_where_its_cluster_points(endpoint, listening, same):
    rollouts = declared()
    upstreams = {name: Upstream("127.0.0.1:8081") for name in clusters_of(rollouts)}
    config = bootstrap(rollouts, Options(ext_proc=endpoint, upstreams=upstreams))
    found = misfits(config, rollouts, Use(address=listening))
    assert [one.id for one in found] == ([] if same else ["sidecar-elsewhere"])


def test_the_clients_address_must_be_sent():
    document = yaml.safe_load(EXAMPLE.read_text())
    document["spec"]["unit"].append({"clientAddress": True})
    reading = rollout.read([rollout.Source("chat.yaml", yaml.safe_dump(document).encode())])
    [found] = misfits(fitting_config(), [one.rollout for one in reading.declared])
    assert found.id == "address-hidden"


JWT = "envoy.filters.http.jwt_authn"
JWT_TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


def segmented():
    """The example with a segment that looks at a claim, a header and an attribute."""
    document = yaml.safe_load(EXAMPLE.read_text())
    when = [
        {"metadata": {"filter": JWT, "path": ["claims", "tier"]}, "exact": "low"},
        {"header": "x-country", "in": ["de"]},
        {"attribute": "connection.mtls", "exact": "true"},
    ]
    document["spec"]["segments"] = [{"name": "low", "when": when, "weights": {"canary": 5}}]
    reading = rollout.read([rollout.Source("chat.yaml", yaml.safe_dump(document).encode())])
    return [one.rollout for one in reading.declared]


def test_what_a_segment_looks_at_must_be_sent_and_the_rollout_is_named():
    found = misfits(fitting_config(), segmented())
    assert [one.id for one in found] == [
        "header-hidden",
        "attribute-hidden",
        "metadata-hidden",
        "metadata-unwritten",
    ]
    assert all("rollout 'chat-model'" in one.message for one in found)


@pytest.mark.parametrize(("before", "ids"), [(True, []), (False, ["metadata-unwritten"])])
def test_claims_must_be_verified_before_the_decision(before, ids):
    rollouts = segmented()
    upstreams = {name: Upstream("127.0.0.1:8081") for name in clusters_of(rollouts)}
    jwt = {"name": JWT, "typed_config": {"@type": JWT_TYPE}}
    config = bootstrap(rollouts, Options(upstreams=upstreams, filters=(jwt,)))
    if not before:
        manager(config)["http_filters"][:2] = reversed(manager(config)["http_filters"][:2])
    assert [one.id for one in misfits(config, rollouts)] == ids


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


def test_the_command_compares_where_the_sidecar_is_if_it_is_told():
    check = str(ROOT / "deploy/envoy/envoy.yaml")
    where = ["--ext-proc", "127.0.0.1:18001"]
    result = CliRunner().invoke(canary, ["envoy", str(EXAMPLE), "--check", check, *where])
    assert (result.exit_code, "listens at '127.0.0.1:18001'" in result.output) == (1, True)


def test_the_command_is_silent_about_a_configuration_that_fits():
    check = str(ROOT / "deploy/envoy/envoy.yaml")
    result = CliRunner().invoke(canary, ["envoy", str(EXAMPLE), "--check", check])
    assert (result.exit_code, result.output) == (0, "")
